# The pipeline, one target a stage. `make` alone lists them in order.
# With the real data: make prepare RAW=/where/the/competition/folder/is PRESET=t4

PRESET ?= t4
RAW    ?= data/raw/rsna-2022-cervical-spine-fracture-detection
CACHE  ?= data/cache/$(PRESET)
RUN    ?= data/runs/$(PRESET)
FOLDS  ?= 5
FOLD   ?= all
ENCODER ?=
OUT    ?= data/submissions/$(notdir $(RUN:/=))
SUBMISSION ?=
SOLUTION   ?=
LEADERBOARD ?=
IN     ?=
RUNS   ?=
OWNER  ?=
NAME   ?= cspine
KERNEL ?= inference
MESSAGE ?=
CODE_ONLY ?=

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready
EXTRA  ?=

# A misspelt variable would be ignored, and a stage run with its default.
KNOWN := PRESET RAW CACHE RUN FOLDS FOLD ENCODER OUT SUBMISSION SOLUTION LEADERBOARD IN RUNS OWNER NAME KERNEL MESSAGE \
  CODE_ONLY PYTHON EXTRA
UNKNOWN := $(strip $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(filter-out $(KNOWN),$(name)))))
ifneq ($(UNKNOWN),)
$(error no variable $(firstword $(UNKNOWN)); expected one of $(KNOWN))
endif

# These take no further flags; to ignore them would be worse than to refuse them.
NO_EXTRA := help setup image demo smoke notebooks lint format
ifneq ($(and $(filter command,$(firstword $(origin EXTRA))),$(filter $(NO_EXTRA),$(or $(MAKECMDGOALS),help))),)
$(error EXTRA= is for targets that run one script; $(firstword $(filter $(NO_EXTRA),$(or $(MAKECMDGOALS),help))) runs none or several)
endif

# Whether a file is there; $(wildcard) would take a blank in its name for the end of it.
HAS = $(shell test -e "$(1)" && echo yes)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-15s %s\n", $$1, $$2}'

setup: $(READY)  ## make .venv with the versions of Kaggle's image

$(READY): requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 12) else \
	  "error: Python 3.11 or 3.12 is needed, the versions of Kaggle and of its packages; found %d.%d; name another: make setup PYTHON=python3.12" % v)'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet -r requirements.txt
	touch $@

replica: $(READY)  ## RAW=: write a synthetic competition folder (EXTRA= for flags of src/replicate.py)
	$(PY) src/replicate.py --out "$(RAW)" $(EXTRA)

replica-gallery: $(READY)  ## write a page of the replica's patients, fractures and mimics
	$(PY) benchmarks/replica_gallery.py $(EXTRA)

WIDE := --train 600 --public 0 --private 0 --split even --coverage wide --size 0.3125 --mask-share 1 --box-share 0 --seed 11

pretrain-locator: $(READY)  ## [OUT=]: train the locator that comes with the kit, on replicas alone
	$(PY) src/replicate.py --out data/raw/wide $(WIDE)
	$(PY) src/prepare.py --raw data/raw/wide/competition --cache data/cache/wide --preset t4
	$(PY) src/pretrain_locator.py --replica data/raw/wide --cache data/cache/wide \
	  $(if $(filter command,$(word 1,$(origin OUT))),--out "$(OUT)") $(EXTRA)

doctor: $(READY)  ## RAW= CACHE= RUN= PRESET=: look at the machine and the data before the first hour, say what to do
	$(PY) src/doctor.py --raw "$(RAW)" --cache "$(CACHE)" --run "$(RUN)" --preset $(PRESET) $(EXTRA)

describe: $(READY)  ## RAW= CACHE=: count what the competition folder holds and name what is missing
	$(PY) src/describe.py --raw "$(RAW)" --cache "$(CACHE)" $(EXTRA)

prepare: $(READY)  ## RAW= CACHE= PRESET=: read every series, cache it at the locator's spacing
	$(PY) src/prepare.py --raw "$(RAW)" --cache "$(CACHE)" --preset $(PRESET) $(EXTRA)

split: $(READY)  ## RAW= CACHE= FOLDS= [LEADERBOARD=1 OUT=]: give every study a fold, once; or make a local competition
	$(PY) src/split.py --raw "$(RAW)" --cache "$(CACHE)" --folds $(FOLDS) \
	  $(if $(LEADERBOARD),--leaderboard "$(if $(filter command,$(word 1,$(origin OUT))),$(OUT),data/raw/leaderboard)") $(EXTRA)

locate: $(READY)  ## CACHE= RUN= PRESET=: train the locator folds, label every study out of fold
	$(PY) src/locate.py --cache "$(CACHE)" --run "$(RUN)" --preset $(PRESET) $(EXTRA)

columns: $(READY)  ## RAW= CACHE= PRESET=: cut C1-C7 out of every series, cache it at the classifier's spacing
	$(PY) src/columns.py --raw "$(RAW)" --cache "$(CACHE)" --preset $(PRESET) $(EXTRA)

train: $(READY)  ## RAW= CACHE= RUN= PRESET= FOLD= [ENCODER=]: train the classifier on all GPUs, one fold or all
	$(PY) src/train.py --raw "$(RAW)" --cache "$(CACHE)" --run "$(RUN)" --preset $(PRESET) --fold $(FOLD) \
	  $(if $(ENCODER),--encoder $(ENCODER)) $(EXTRA)

plan: $(READY)  ## PRESET=: say what a preset needs before it is trained: memory, arithmetic, hours
	$(PY) src/plan.py --preset $(PRESET) $(EXTRA)

tensorboard: $(READY)  ## RUN=: show the learning curves of a run in the browser
	$(PY) -m tensorboard.main --logdir "$(RUN)" $(EXTRA)

cv: $(READY)  ## RAW= CACHE= RUN=: merge the folds, calibrate, score out of fold
	$(PY) src/cv.py --raw "$(RAW)" --cache "$(CACHE)" --run "$(RUN)" $(EXTRA)

blend: $(READY)  ## RAW= RUNS= OUT=: weigh several runs, write a folder that is asked and pushed like a run
	$(PY) src/blend.py --raw "$(RAW)" --runs $(RUNS) --out "$(if $(filter command,$(word 1,$(origin OUT))),$(OUT),data/runs/blend)" $(EXTRA)

submission: $(READY)  ## RAW= RUN= OUT=: run the Kaggle kernel's script here, check its submission.csv
	$(PY) src/submission.py --raw "$(RAW)" --run "$(RUN)" --out "$(OUT)" $(EXTRA)

score: $(READY)  ## RAW= [RUN=|RUNS=] SUBMISSION= SOLUTION=: score a submission, and runs out of fold
	$(PY) src/score.py --raw "$(RAW)" $(if $(RUNS),--runs $(RUNS),$(if $(call HAS,$(RUN)/oof.csv),--runs "$(RUN)")) \
	  $(if $(SUBMISSION),--submission "$(SUBMISSION)") $(if $(SOLUTION),--solution "$(SOLUTION)") $(EXTRA)

report: $(READY)  ## RAW= CACHE= RUN= PRESET=: write RUN/report.html with scores and pictures
	$(PY) src/report.py --raw "$(RAW)" --cache "$(CACHE)" --run "$(RUN)" --preset $(PRESET) \
	  $(if $(call HAS,$(OUT)/inference.json),--inference "$(OUT)/inference.json") $(EXTRA)

predict: $(READY)  ## IN= RUN= [OUT=]: ask the models about every CT of a neck in a folder, an export, a zip
	$(PY) src/predict.py --input "$(IN)" --run "$(RUN)" $(if $(filter command,$(word 1,$(origin OUT))),--out "$(OUT)") $(EXTRA)

locate-scan: $(READY)  ## IN= [OUT=]: name the vertebrae of any CT: a DICOM folder, or a NIfTI file
	$(PY) src/locate_scan.py --input "$(IN)" $(if $(filter command,$(word 1,$(origin OUT))),--out "$(OUT)") $(EXTRA)

# Times are left out and what a cell prints is merged, so that a second run changes nothing. tqdm would warn,
# with its path, that ipywidgets are not there.
notebooks: $(READY)  ## execute the notebooks on the demo (after make demo)
	@for made in data/raw/demo/solution.csv data/cache/demo/columns data/runs/demo/report.html; do \
	  test -e $$made || { echo "error: $$made: no such file or folder; run make demo first" >&2; exit 1; }; done
	PYTHONPATH="$(CURDIR)/src" JUPYTER_PATH="$(CURDIR)/$(VENV)/share/jupyter" MPLBACKEND= \
	  PYTHONWARNINGS="ignore:IProgress not found" \
	  $(PY) -m nbconvert --to notebook --execute --inplace --ExecutePreprocessor.kernel_name=python3 \
	  --ExecutePreprocessor.record_timing=False \
	  --NotebookExporter.preprocessors=nbconvert.preprocessors.CoalesceStreamsPreprocessor notebooks/*.ipynb

wheels: $(READY)  ## download the wheels that Kaggle's image lacks (needs the network)
	$(PY) src/wheels.py $(EXTRA)

IMAGE  := .venv-image
IMAGE_PYTHON := $(firstword $(wildcard $(HOME)/.pyenv/versions/3.12*/bin/python3.12 /usr/bin/python3.12 /usr/local/bin/python3.12))
IMAGE_PACKAGES := $(IMAGE)/lib/python3.12/site-packages

# The packages of Kaggle's image alone, in its Python; what else the kernel needs comes from the wheels. The GPU's
# libraries, more than half of it all, are the same for every Python: hard links to those of .venv, where the disk has
# such links, instead of 4 GB once more. pip looks at their versions and replaces what is not as torch wants it.
$(IMAGE)/.ready: requirements.txt
	test -n "$(IMAGE_PYTHON)"
	$(IMAGE_PYTHON) -m venv --clear $(IMAGE)
	cp -al $(VENV)/lib/python3*/site-packages/nvidia* $(IMAGE_PACKAGES) 2>/dev/null || rm -rf $(IMAGE_PACKAGES)/nvidia*
	sed '/^# Not in Kaggle/,$$d' requirements.txt > $(IMAGE)/requirements.txt
	$(IMAGE)/bin/python -m pip install --quiet -r $(IMAGE)/requirements.txt
	touch $@

image: $(READY)  ## make .venv-image, Kaggle's Python 3.12 with its image's packages alone, for image-submission and test
	@if test -z "$(IMAGE_PYTHON)"; then echo "NOT MADE: no python3.12 here"; else $(MAKE) --no-print-directory $(IMAGE)/.ready; fi

image-submission: image  ## RAW= RUN= OUT=: as submission, in Python 3.12 with the packages of Kaggle's image and the wheels
	@if test -z "$(IMAGE_PYTHON)"; then echo "NOT TRIED: no python3.12 here, so the kernels, the wheels and the checkpoints were not tried in Kaggle's Python"; else \
	$(PY) src/submission.py --raw "$(RAW)" --run "$(RUN)" --out "$(OUT)" --python $(IMAGE)/bin/python $(EXTRA); fi

bundle: $(READY)  ## RUN=|CODE_ONLY=1 PRESET=: put together what travels to Kaggle: code and wheels, and a run's models
	$(PY) src/bundle.py $(if $(CODE_ONLY),--code-only,--run "$(RUN)") --preset $(PRESET) $(EXTRA)

KAGGLE = --owner "$(OWNER)" --name $(NAME)

kaggle-doctor: $(READY)  ## OWNER=: look at all that a push needs: client, credentials, rules, quota, bundle (asks Kaggle)
	$(PY) src/kaggle_doctor.py $(KAGGLE) $(EXTRA)

push: $(READY)  ## OWNER= KERNEL=: send code and models, check that they arrived, start the kernel (asks Kaggle)
	$(PY) src/push.py $(KAGGLE) --kernel $(KERNEL) $(EXTRA)

kaggle-status: $(READY)  ## OWNER= KERNEL=: wait for the kernel's end, fetch its log and small files (asks Kaggle)
	$(PY) src/kaggle_status.py $(KAGGLE) --kernel $(KERNEL) --raw "$(RAW)" $(EXTRA)

submit: $(READY)  ## OWNER= [MESSAGE=]: submit the version pushed last, once, and print its scores (asks Kaggle)
	$(PY) src/submit.py $(KAGGLE) --raw "$(RAW)" $(if $(MESSAGE),--message "$(MESSAGE)") $(EXTRA)

DEMO := RAW=data/raw/demo/competition CACHE=data/cache/demo RUN=data/runs/demo PRESET=demo FOLDS=2 OUT=data/submissions/demo

demo: $(READY)  ## the pipeline on a small synthetic competition, without a GPU
	$(MAKE) --no-print-directory replica RAW=data/raw/demo \
	  EXTRA="--train 208 --public 20 --private 60 --size 0.25 --mask-share 0.15 --box-share 1.0 --severity 1.6 2.0"
	$(MAKE) --no-print-directory describe prepare split locate columns train cv submission $(DEMO)
	$(MAKE) --no-print-directory score $(DEMO) SUBMISSION=data/submissions/demo/submission.csv \
	  SOLUTION=data/raw/demo/solution.csv EXTRA="--require-lower-bound-percent 5"
	$(MAKE) --no-print-directory report $(DEMO)

SMOKE := RAW=data/raw/smoke/competition CACHE=data/cache/smoke RUN=data/runs/smoke PRESET=smoke FOLDS=2 OUT=data/submissions/smoke

smoke: $(READY)  ## the whole pipeline on a replica of sixteen studies, within three minutes; it learns nothing
	$(MAKE) --no-print-directory replica RAW=data/raw/smoke \
	  EXTRA="--train 12 --public 2 --private 2 --size 0.125 --mask-share 1.0 --box-share 1.0"
	$(MAKE) --no-print-directory describe prepare split locate columns train cv submission score report $(SMOKE)

bench-scans: $(READY)  ## measure prepare against the published loop and the raw decoder
	$(PY) benchmarks/bench_scans.py $(EXTRA)

bench-splits: $(READY)  ## measure how alike folds and parts are, and whether near-duplicates are found
	$(PY) benchmarks/bench_splits.py $(EXTRA)

bench-intervals: $(READY)  ## measure how often the intervals hold the true score, and what they cost
	$(PY) benchmarks/bench_intervals.py $(EXTRA)

bench-calibration: $(READY)  ## measure what calibration and the correction for averaging cost and save
	$(PY) benchmarks/bench_calibration.py $(EXTRA)

bench-locator: $(READY)  ## measure the locator on unseen replicas by field of view and cut, and on scans with landmarks
	$(PY) benchmarks/bench_locator.py $(EXTRA)

bench-pseudo-masks: $(READY)  ## measure whether the locator gains from its own label maps of scans without masks
	$(PY) benchmarks/bench_pseudo_masks.py $(EXTRA)

bench-loader: $(READY)  ## measure a training sample beside the bare warp and beside a GPU's step
	$(PY) benchmarks/bench_loader.py $(EXTRA)

bench-inference: $(READY)  ## measure a study at inference by part, beside the bare forward passes
	$(PY) benchmarks/bench_inference.py $(EXTRA)

bench-recipe: $(READY)  ## train the recipe and its variants on a replica, paired, with intervals (hours; goes on when stopped)
	$(PY) benchmarks/bench_recipe.py $(EXTRA)

bench-replica: $(READY)  ## hold a replica against the published figures: statistics, difficulty, shortcuts, cost
	$(PY) benchmarks/bench_replica.py $(EXTRA)

pictures: $(READY)  ## draw docs/pipeline.png, own-scan.png and replica.png (after make demo)
	$(PY) benchmarks/pictures.py $(EXTRA)

test: $(READY)  ## run the tests, but for those of the whole pipeline
	$(PY) -m pytest -q -m "not pipeline" -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(EXTRA)

test-pipeline: $(READY)  ## kill the pipeline at random moments and compare what it ends in
	$(PY) -m pytest -q -m pipeline $(EXTRA)

lint: $(READY)  ## check style, format and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(READY)  ## put the format right
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

.PHONY: help setup replica replica-gallery pretrain-locator doctor describe prepare split locate columns train plan tensorboard cv blend submission score report predict locate-scan notebooks wheels image image-submission bundle kaggle-doctor push kaggle-status submit demo smoke bench-scans bench-splits bench-intervals bench-calibration bench-locator bench-pseudo-masks bench-loader bench-inference bench-recipe bench-replica pictures test test-pipeline lint format
