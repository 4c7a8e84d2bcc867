"use strict";

const keyOf = (row, column) => row.cells[column].dataset.key ?? row.cells[column].textContent.trim();

// In either direction numbers come before words, and what is empty stands last.
function compare(a, b, direction) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const [x, y] = [Number(a), Number(b)];
  if (Number.isNaN(x) && Number.isNaN(y)) return direction * a.localeCompare(b, "en", { numeric: true });
  if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
  return direction * (x - y);
}

function sort(heading) {
  const headings = [...heading.parentNode.cells];
  const column = headings.indexOf(heading);
  const direction = heading.ariaSort === "ascending" ? -1 : 1;
  headings.forEach((other) => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  const body = heading.closest("table").tBodies[0];
  const rows = [...body.rows].sort((a, b) => compare(keyOf(a, column), keyOf(b, column), direction));
  body.append(...rows);
}

function filter(field) {
  const wanted = field.value.trim().toLowerCase();
  for (const row of field.nextElementSibling.querySelectorAll("tbody tr")) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
  }
}

function save() {
  const link = document.createElement("a");
  const text = document.getElementById("data").textContent;
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "dimbench.json";
  link.click();
  URL.revokeObjectURL(link.href);
}

document.querySelectorAll("th button").forEach((button) => {
  button.addEventListener("click", () => sort(button.closest("th")));
});
document.querySelectorAll(".filter").forEach((field) => field.addEventListener("input", () => filter(field)));
document.querySelectorAll(".save").forEach((button) => {
  button.hidden = false;
  button.addEventListener("click", save);
});

// What a point of a plot says, at the pointer and for the keyboard; without this script it is the browser's own hint.
const tip = Object.assign(document.createElement("div"), { className: "tip", hidden: true });
document.body.append(tip);
document.querySelectorAll(".spot").forEach((spot) => {
  const title = spot.querySelector("title");
  const says = title.textContent;
  title.remove();
  spot.setAttribute("aria-label", says);
  const show = () => {
    const at = spot.getBoundingClientRect();
    tip.textContent = says;
    tip.hidden = false;
    tip.style.left = `${Math.max(4, Math.min(at.right + 4, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(4, at.top - tip.offsetHeight - 4)}px`;
  };
  const hide = () => { tip.hidden = true; };
  [["pointerenter", show], ["focus", show], ["pointerleave", hide], ["blur", hide]].forEach(([event, act]) => {
    spot.addEventListener(event, act);
  });
});
