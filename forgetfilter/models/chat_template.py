"""The user's chat template and its hash. Nothing here imports torch, since every command asks for hashes."""

from pathlib import Path

from forgetfilter.errors import UserError
from forgetfilter.files import sha256_file


def template_hash(chat_template: str | None) -> str | None:
    """sha256 of the user's chat template; None without one. Results depend on its content, not on its path."""
    return sha256_file(template_file(chat_template)) if chat_template else None


def template_file(chat_template: str) -> Path:
    """The template's file. Raises UserError where it is missing."""
    if not Path(chat_template).is_file():
        raise UserError(f"model.chat_template: {chat_template} is missing")
    return Path(chat_template)


def read_template(chat_template: str) -> str:
    """The template itself. Raises UserError where the file is no text."""
    try:
        return template_file(chat_template).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"model.chat_template: {chat_template} cannot be read ({error})") from error
