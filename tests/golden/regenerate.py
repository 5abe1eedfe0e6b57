"""Write every NAME.nft anew: `python -m tests.golden.regenerate`, then read the diff."""

from __future__ import annotations

from tests.golden.cases import HERE, NAMES, rendered


def main() -> None:
    """Render all."""
    for name in NAMES:
        (HERE / f"{name}.nft").write_text(rendered(name))


if __name__ == "__main__":
    main()
