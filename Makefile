PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
RAY := .venv-ray
# What breaks first when a library is older: within a minute, a clip of the bundled pair, weights and cards to and from
# a Hub on loopback, codec, text encoder, audio, the vote database, measures.
LOWEST_TESTS := tests/test_requirements.py tests/audio/test_level.py tests/test_settings.py tests/hub/test_hub.py \
    tests/models/test_text_encoder.py \
    tests/models/test_checkpoint.py::test_codec_round_trip_gives_the_tokens_their_length \
    tests/models/test_codec.py::test_altered_and_truncated_weights_are_refused \
    tests/test_bundled.py::test_same_seed_same_clip_and_another_seed_another \
    tests/publishing/test_publish.py::test_what_is_pushed_loads_back_bit_for_bit \
    tests/publishing/test_publish.py::test_a_published_checkpoint_is_used_from_python \
    tests/publishing/test_publish.py::test_the_model_card_is_valid_and_says_what_the_hub_shows \
    tests/listening/test_database.py::test_the_tables_are_what_the_migrations_make \
    tests/listening/test_database.py::test_everything_comes_back_as_it_was \
    tests/listening/test_statistics.py::test_wilson_agrees_with_a_published_value \
    tests/training/test_adherence.py::test_clips_without_noise_are_as_far_from_noisy_pieces_as_noise_is_from_tones

# CI: `make LOCK=requirements-lock.txt test` installs the versions that the tests passed on.
LOCKED := $(if $(LOCK),--constraint $(LOCK))

.PHONY: app test lowest-test lint audit system-test mutation-test fuzz format clean

app: $(VENV)/.app
	$(BIN)/python app.py $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

lowest-test: $(LOWEST)/.lowest
	$(LOWEST)/bin/python -m pytest $(LOWEST_TESTS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: $(VENV)/.dev
	$(BIN)/python -m pip check
	$(BIN)/python tests/audit.py

mutation-test: $(VENV)/.dev
	$(BIN)/python tests/mutations.py $(GUARDS)

fuzz: $(VENV)/.dev
	$(BIN)/python tests/fuzz.py --minutes 10

system-test: $(VENV)/.dev $(RAY)/.ray
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "(browser or fluidsynth or postgres or wheel or compiled or load or ranks) and not objects and not slow"
	$(RAY)/bin/python -m pytest -m "ray or objects" tests/serving

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else \
	"Python 3.11 or newer is needed, this is %d.%d. Try: make PYTHON=python3.11 app" % v[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app: $(BIN)/python requirements.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.dev: $(BIN)/python requirements.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' $(LOCKED)
	touch $@ $(VENV)/.app

# Ray brings another event loop for uvicorn, clients of S3 another dateutil, which the other tests are not to run on; all
# else is that of .venv. What the latter want is not in the lock, see pyproject.toml.
SITE = -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
$(RAY)/.ray: $(VENV)/.dev
	$(BIN)/python -m venv --clear $(RAY)
	$(BIN)/python $(SITE) > "$$($(RAY)/bin/python $(SITE))/beneath.pth"
	$(RAY)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[ray]' $(LOCKED)
	$(RAY)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[objects,object-tests]'
	touch $@

$(LOWEST)/.lowest: requirements.txt pyproject.toml tests/lowest.txt
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[train,postgres]' pytest \
	    --constraint tests/lowest.txt
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) $(RAY)
