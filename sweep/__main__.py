"""`python -m sweep`: a sweep by Hydra overrides, or one of the verbs that look at what sweeps have left."""

import sys

from sweep.spec import UserError, exits

VERBS = (
    *("trials", "why", "best", "plot", "compare", "buckets", "report", "prices", "import", "verify"),
    *("reproduce", "resume", "sync", "ui", "doctor", "builds"),
)


def main() -> None:
    """The exit status is one of `spec.exits`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Do what the arguments say; the exit status. A user's error is one line on standard error."""
    try:
        if arguments and arguments[0] in VERBS:
            from sweep import verbs

            return verbs.run(arguments)
        if arguments and not arguments[0].startswith(("-", "+", "~")) and "=" not in arguments[0]:
            from sweep.spec import meant

            raise UserError(
                f"no verb {arguments[0]!r}: {meant(arguments[0], VERBS)}; a sweep is `python -m sweep -m batch=1,5`"
            )
        from sweep.config import command_line

        return command_line.run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return exits.USER_ERROR
    except BrokenPipeError:  # `python -m sweep trials | head`
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return exits.INTERRUPTED


if __name__ == "__main__":
    main()
