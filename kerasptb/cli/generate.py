"""`kerasptb generate`."""

from kerasptb.cli import arguments
from kerasptb.cli.notices import import_keras


def add_parser(commands):
    command = arguments.add_command(commands, "generate", execute, "sample text from a run")
    arguments.add_shared(command, "run")
    command.add_argument("--prompt", default="", help="text to go on from")
    command.add_argument("--words", type=arguments.positive, default=50, help="number of words (default: 50)")
    command.add_argument("--temperature", type=float, default=1.0, help="0 is always the most probable (default: 1)")
    command.add_argument("--seed", type=arguments.seed, help="makes the sample repeatable")
    arguments.add_backend(command, "the run's", "the run's")


def execute(options):
    from kerasptb.generation import as_text, generate
    from kerasptb.runs import load_run

    run = load_run(options.run)
    import_keras()
    model = run.load_model(batch_size=1, **arguments.overrides(options))
    words = generate(model, run.vocabulary, options.prompt, options.words, options.temperature, options.seed)
    print(as_text(options.prompt, words))
