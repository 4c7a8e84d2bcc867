"""What changes how a network runs without changing its name: one file per method; `parse` is the way in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields

from dimbench import names
from dimbench.errors import UsageError
from dimbench.methods.attention_backend import AttentionBackend
from dimbench.methods.autoguidance import Autoguidance
from dimbench.methods.cfg_cache import CfgCache
from dimbench.methods.classifier_guidance import ClassifierGuidance
from dimbench.methods.deep import Deep
from dimbench.methods.diffusers_hooks import (
    DiffusersFaster,
    DiffusersFirstBlock,
    DiffusersMag,
    DiffusersPyramid,
    DiffusersTaylor,
)
from dimbench.methods.fake_quantisation import FakeW4A8, FakeW8A8
from dimbench.methods.fast_attention import FastAttention
from dimbench.methods.first_block import FirstBlock
from dimbench.methods.fora import Fora
from dimbench.methods.guidance_settings import GuidanceSettings
from dimbench.methods.interval import Interval
from dimbench.methods.method import Method
from dimbench.methods.quantisation import Float8, Int4Weights, Int8, Int8Weights
from dimbench.methods.state import State
from dimbench.methods.taylor import Taylor
from dimbench.methods.tea_cache import TeaCache
from dimbench.methods.tome import Tome

METHODS: dict[str, type[Method]] = {
    kind.name: kind
    for kind in (
        Fora,
        Taylor,
        Deep,
        FirstBlock,
        State,
        TeaCache,
        FastAttention,
        Tome,
        Interval,
        GuidanceSettings,
        Autoguidance,
        ClassifierGuidance,
        CfgCache,
        AttentionBackend,
        Int8Weights,
        Int8,
        Int4Weights,
        Float8,
        FakeW8A8,
        FakeW4A8,
        DiffusersFirstBlock,
        DiffusersPyramid,
        DiffusersFaster,
        DiffusersTaylor,
        DiffusersMag,
    )
}


def split(text: str) -> list[str]:
    """ "fora:every=2+tome" -> the methods in it one by one."""
    known = "|".join(METHODS)
    return re.split(rf"\+(?=(?:{known})(?:[:=+]|$))", text)


def parse(texts: Sequence[str]) -> tuple[Method, ...]:
    """ "fora:every=3" -> the method with its settings, those first that others have to stand around. UsageError for one
    that is not understood, for a setting out of its range, and for two that exclude each other."""
    for text in texts:
        if len(parts := split(text)) > 1:
            given = " ".join(f"--with {part}" for part in parts)
            raise UsageError(f"--with {text} holds several methods, as frontier alone takes them; give {given}")
    found = tuple(map(_parse, texts))
    for place, method in enumerate(found):
        for other in found[:place]:
            if method.name == other.name:
                raise UsageError(f"--with {method.name} was given twice; give it once")
            if why := method.excludes(other) or other.excludes(method):
                raise UsageError(f"{other.name} and {method.name} {why} and exclude each other; give one")
    return tuple(sorted(found, key=lambda method: method.place))


def conditions(texts: Sequence[str]) -> dict[str, list[str]]:
    """What a record says of the methods: each in its full form, none where there are none."""
    return {"methods": [str(method) for method in parse(texts)]} if texts else {}


def _parse(text: str) -> Method:
    """ "attention=math" is short for its first setting, as in attention:backend=math."""
    from dimbench.arguments import typed

    name, _, rest = text.partition(":")
    name, sign, first = name.partition("=")
    kind = names.find(name, METHODS, "method", "`dimbench methods` lists them")
    own = [field.name for field in fields(kind)]
    if sign and not own:
        raise UsageError(f"--with {text}: {kind.name} takes no arguments; give {kind.name} alone")
    given = {own[0]: first} if sign else {}
    for part in filter(None, rest.split(",")):
        key, sign, value = part.partition("=")
        if key not in own and kind.names_model in given:
            given[kind.names_model] += f",{part}"
            continue
        if not sign:
            raise UsageError(f"--with {text}: {part!r} is no setting; give {name}:{_form(kind)}")
        if key in given:
            raise UsageError(f"--with {text}: {key} is set twice; set it once")
        given[key] = value
    return kind(**typed(given, kind, f"--with {name}"))


def _form(kind: type[Method]) -> str:
    return ",".join(f"{field.name}={field.default}" for field in fields(kind))
