"""Judges: what answers a prompt. A language model that this project loads, or an endpoint in the OpenAI convention."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import torch
from jinja2.exceptions import TemplateError

from expander_theory.base import ExpanderTheoryError, InvalidArgument, require
from sae_bridge.models import LanguageModel, load_language_model

KEY = "EXPANDER_JUDGE_KEY"
"""Environment variable with the endpoint's key, where it asks for one."""
_TRIES, _WAIT, _SECONDS = 4, 2.0, 120.0


class JudgeFailed(ExpanderTheoryError):
    """A judge that gave no answer; what was answered before is stored, and the same command goes on there."""


class Judge(Protocol):
    """Answers prompts, one at a time, always the same way."""

    @property
    def identity(self) -> dict[str, Any]:
        """What decides its answers, JSON-able."""
        ...

    def count(self, system: str, user: str) -> int:
        """Tokens of a prompt, exactly or about."""
        ...

    def answer(self, system: str, user: str, most: int) -> str:
        """The answer to a prompt, of at most ``most`` tokens.

        Raises:
            JudgeFailed: it gave none.
        """
        ...


@dataclass(frozen=True)
class LocalJudge:
    """A causal language model on this machine, greedy; its chat template is used where its tokenizer has one.

    Attributes:
        model: the language model.
    """

    model: LanguageModel

    @property
    def identity(self) -> dict[str, Any]:
        """Name and hash of the parameters."""
        return {"judge": "local", "model": self.model.name, "fingerprint": self.model.fingerprint}

    def count(self, system: str, user: str) -> int:
        """Tokens of a prompt."""
        return len(self._ids(system, user))

    @torch.no_grad()
    def answer(self, system: str, user: str, most: int) -> str:
        """The most likely continuation, token by token."""
        ids = torch.tensor([self._ids(system, user)], device=self.model.device)
        longest = self.model.longest_context
        if longest is not None and ids.shape[1] + most > longest:
            asked = f"a prompt of {ids.shape[1]} tokens and {most} of an answer"
            raise JudgeFailed(f"{asked} are too many for {self.model.name}, which has {longest}")
        network: Any = self.model.model
        pad = self.model.tokenizer.pad_token_id
        out = network.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=most,
            do_sample=False,
            pad_token_id=pad if pad is not None else self.model.tokenizer.eos_token_id,
        )
        return self.model.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)

    def _ids(self, system: str, user: str) -> list[int]:
        tokenizer = self.model.tokenizer
        if getattr(tokenizer, "chat_template", None):
            messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
            try:
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            except TemplateError:  # some templates know no system
                messages = [{"role": "user", "content": f"{system}\n\n{user}"}]
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            return tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokenizer(f"{system}\n\n{user}\n\n")["input_ids"]


@dataclass(frozen=True)
class EndpointJudge:
    """A server that speaks OpenAI's ``/v1/chat/completions``, at temperature 0.

    Attributes:
        url: its base, ``http://127.0.0.1:8000`` or ``https://.../v1``.
        model: the name that it is asked for.
        seconds: how long an answer may take.
    """

    url: str
    model: str
    seconds: float = _SECONDS

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
        except ValueError as error:
            raise InvalidArgument("judge", repr(self.url), f"must be an address ({error})") from None
        try:
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # no such port
            sound = False
        require(sound, "judge", repr(self.url), "must be an http or https address")
        require(bool(self.model), "judge_model", repr(self.model), "must name the model that the endpoint serves")

    @property
    def identity(self) -> dict[str, Any]:
        """The model's name; the address is no part of it, so that a server may move."""
        return {"judge": "endpoint", "model": self.model}

    def count(self, system: str, user: str) -> int:
        """About the tokens of a prompt: a quarter of its characters."""
        return (len(system) + len(user)) // 4

    def answer(self, system: str, user: str, most: int) -> str:
        """The first choice's text; asked again after an error of the server or a lost connection."""
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        body = {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": most, "seed": 0}
        said = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_WAIT * 2 ** (attempt - 1))
            try:
                return self._asked(body)
            except urllib.error.HTTPError as error:
                said = f"{error.code} {error.reason}: {error.read()[:300].decode(errors='replace')}"
                if error.code not in (408, 429) and error.code < 500:
                    break
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
                said = str(getattr(error, "reason", error)) or type(error).__name__
        raise JudgeFailed(f"{self._address}: {said}")

    @property
    def _address(self) -> str:
        base = self.url.rstrip("/")
        return f"{base if base.endswith('/v1') else base + '/v1'}/chat/completions"

    def _asked(self, body: dict[str, Any]) -> str:
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(KEY, "").strip()
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._address, json.dumps(body).encode(), headers)
        with _OPENER.open(request, timeout=self.seconds) as response:
            raw = response.read()
        try:
            text = json.loads(raw)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            raise JudgeFailed(f"{self._address}: answered {raw[:300]!r}, which holds no choice's message") from None
        if text is None:  # it said nothing, such as by refusing: an answer that cannot be read
            return ""
        if not isinstance(text, str):
            raise JudgeFailed(f"{self._address}: its message holds no text")
        return text


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Another host must not get the key."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def judge_named(source: str, model: str | None = None, *, device: str = "cpu") -> Judge:
    """A judge by an address (``http://...``) or by what :func:`sae_bridge.models.load_language_model` takes.

    Raises:
        InvalidArgument: an address without the model's name, or a name beside a local model.
    """
    if source.startswith(("http://", "https://")):
        return EndpointJudge(source, model or "")
    if model is not None:
        raise InvalidArgument("judge_model", repr(model), "goes with an endpoint alone")
    return LocalJudge(load_language_model(source, device=device))


def asked_hash(judge: Judge, system: str, user: str, most: int) -> str:
    """What names one question to one judge: a hash of all that decides the answer."""
    content = json.dumps([judge.identity, system, user, most], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()
