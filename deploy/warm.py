"""Compile every kernel once, so that the first event and the first score need not wait."""


def main() -> None:
    """Compile what is not in the cache yet, with a line of progress a kernel."""


if __name__ == "__main__":
    main()
