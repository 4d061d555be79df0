"""The command line; imports training and the app lazily."""

import argparse
import errno
import logging
import sys
from pathlib import Path

from simba_music.cli.options import make_parser
from simba_music.errors import UserError
from simba_music.settings import prepare_libraries


def _generate(args: argparse.Namespace) -> None:
    from simba_music.cli.pipeline import load_pipeline

    pipeline = load_pipeline(args)
    from simba_music.cli import generate as generate_command

    if args.prompts is None:
        generate_command.generate_one(pipeline, args)
    else:
        generate_command.generate_prompts(pipeline, args)


def _app(args: argparse.Namespace) -> None:
    from simba_music.cli.pipeline import load_pipeline
    from simba_music.ui.app import launch

    launch(load_pipeline(args), port=args.port, share=args.share)


def _gallery(args: argparse.Namespace) -> None:
    from simba_music.cli.pipeline import load_pipeline
    from simba_music.generation.prompt_files import read_prompts
    from simba_music.listening.gallery import write_gallery

    pipeline = load_pipeline(args)
    limits = pipeline.limits()
    found, left_out = read_prompts(args.prompts, limits.count_tokens, limits.max_text_tokens)
    print("\n".join(left_out), file=sys.stderr)
    write_gallery(pipeline, [prompt.text for prompt in found], args.duration, args.out)


def _study(args: argparse.Namespace) -> None:
    if args.action == "render":
        from simba_music.cli.pipeline import load_pipeline
        from simba_music.listening.study.file import read_study, render_study

        pipeline = load_pipeline(args) if read_study(args.file).prompts else None
        count = render_study(pipeline, args.file, args.dir)
        print(f"{count} pairs. Serve them with: simba-music study serve {args.dir}")
        return
    from simba_music.listening.study.session import open_study

    opened = open_study(args.dir, mirrored=args.action == "serve")
    if args.action == "serve":
        from simba_music.ui.app import launch_study

        launch_study(opened, port=args.port, share=args.share)
        return
    from simba_music.listening.study import data as study_data

    if args.action == "report":
        print(study_data.study_summary(opened), end="")
        return
    study_data.export(opened, args.out)
    if args.hub:
        from simba_music.publishing.push import push_dataset

        print(push_dataset(args.out, args.hub, private=not args.public))


def _hub(args: argparse.Namespace) -> None:
    if args.action == "push":
        from simba_music.publishing.push import push

        made = push(args.checkpoint, args.repository, args.private)
        print(f"Published. Load it with --left {made}")
        return
    import tempfile

    from simba_music.publishing import space

    sides = {"left": args.left, "right": args.right}
    if not args.dry_run:
        print(space.push_space(args.repository, args.hardware, sides, args.private))
        return
    with tempfile.TemporaryDirectory() as made:
        out = args.out or Path(made) / "space"
        space.write_space(out, args.hardware, sides)
        print("\n".join(space.contents(out)))


def _training(args: argparse.Namespace) -> None:
    from simba_music.cli import training as commands

    getattr(commands, args.command)(args)


def main(argv: list[str] | None = None) -> int:
    """Run one command; bad input prints its message and returns 2."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the app asks itself whether it is up
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # our errors say what failed
    try:
        args = make_parser(__doc__).parse_args(argv)
        prepare_libraries(getattr(args, "threads", None))
        command = {
            "generate": _generate,
            "app": _app,
            "gallery": _gallery,
            "study": _study,
            "hub": _hub,
        }.get(args.command, _training)
        command(args)
    except UserError as error:
        print(f"simba-music: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("simba-music: stopped. What is finished is kept; run it again.", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(
            f"simba-music: the disk is full ({error.filename or 'no space left'}). Nothing is half "
            "written; make room and run the same command again.",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
