# `make` lists the targets. Each sets up what it needs in .venv, and repeats that only after a change.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
export PYTHON VENV
# The targets share one virtual environment.
.NOTPARALLEL:

# Set on the command line only (make lmdb DATA=...): the environment does not reach them.
# The folder that holds 300w/ and other folders of photos with .pts.
DATA = data
STAGE = 1
ITERATIONS =
DEVICE = cpu
CUDNN =
NCCL =
COPIES = 30
# 1: augmentation on the fly, from context crops.
ON_THE_FLY =
SEED = 0
BOXES = data/boxes.json
WEIGHTS =
# Of the report: files of facealign evaluate, by default that of `make evaluate`, and folders of training runs.
EVALUATIONS =
RUNS =
ARGS =
# Set in a container image, where Caffe is installed and there is no compiler.
CAFFE_PREBUILT ?=
OUT = out

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up ---------------------------------------------------------------------------------------------------
FOR = demo dev caffe
.PHONY: deps
deps: ## install the Debian packages that the other targets need, as root or through sudo [FOR="demo dev caffe wheel"]
	@tools/debian_packages.sh --install $(FOR)

$(STAMPS)/%: pyproject.toml constraints.txt tools/setup_venv.sh
	@tools/setup_venv.sh $*
	@mkdir -p $(STAMPS) && touch $@

.PHONY: caffe
caffe: $(STAMPS)/demo ## build our Caffe (minutes; later only what changed) and install it into .venv
	$(if $(CAFFE_PREBUILT),,$(BIN)/python custom_caffe/build.py --venv $(VENV))

.PHONY: caffe-gpu
caffe-gpu: $(STAMPS)/demo ## the same with CUDA, replacing it [CUDNN=0|1] [NCCL=1]; building needs no GPU
	$(if $(CAFFE_PREBUILT),,$(BIN)/python custom_caffe/build.py --venv $(VENV) --gpu \
		$(if $(filter 0,$(CUDNN)),--no-cudnn) $(if $(filter 1,$(CUDNN)),--cudnn) $(if $(filter 1,$(NCCL)),--nccl))

.PHONY: docker-cpu docker-gpu
docker-cpu: ## the container image facealign:cpu; docs/docker.md
	$(call build_image,cpu)
docker-gpu: ## the container image facealign:gpu, with CUDA
	$(call build_image,gpu)

.PHONY: wheel
wheel: $(STAMPS)/demo ## a Caffe wheel in dist/ with all its libraries inside, for machines without Caffe's packages
	$(BIN)/python custom_caffe/build.py --portable

.PHONY: wheel-check
wheel-check: $(STAMPS)/demo ## test that wheel on a bare Debian, in a file system in build/; as root
	$(BIN)/python tools/check_wheel.py $$($(BIN)/python custom_caffe/build.py --portable)

# --- use ------------------------------------------------------------------------------------------------------
.PHONY: demo
demo: $(STAMPS)/demo ## align the face in a sample photo with the released weights; needs no Caffe
	$(BIN)/python tools/fetch_demo_photos.py --output build/demo/photos
	$(BIN)/python demo.py --images build/demo/photos --output "$(OUT)/demo" $(ARGS)

.PHONY: tour
tour: caffe $(STAMPS)/tour ## the whole way with a few photos that packages bring: train, evaluate, report; docs/tutorial.md
	$(BIN)/python -m tools.tour --output "$(OUT)/tour" $(ARGS)

.PHONY: serve
serve: $(STAMPS)/serve ## a page to try it in a browser, and an HTTP API, until Ctrl-C; docs/serve.md [ARGS="--port 8000"]
	$(BIN)/facealign serve $(ARGS)

.PHONY: web
web: $(STAMPS)/web ## a page that aligns faces in the browser, as static files in out/web; docs/web.md
	$(BIN)/python tools/build_web.py --output "$(OUT)/web" $(ARGS)

.PHONY: lmdb
lmdb: check-data $(STAMPS)/train ## make lmdb [DATA=data] [COPIES=30|ON_THE_FLY=1] [SEED=0]: find the faces, write the LMDBs for training
	$(BIN)/facealign detect-faces --data "$(DATA)" --output "$(BOXES)"
	$(BIN)/facealign make-lmdb --data "$(DATA)" --boxes "$(BOXES)" --seed $(SEED) \
		$(if $(ON_THE_FLY),--on-the-fly,--copies $(COPIES)) $(ARGS)

.PHONY: mesh
mesh: .venv-mesh/made ## an environment with mediapipe's face mesh in .venv-mesh, a second member for `facealign annotate`
.venv-mesh/made: constraints_mesh.txt
	rm -rf .venv-mesh # its OpenCV package would clash with the one of .venv
	$(PYTHON) -m venv .venv-mesh
	.venv-mesh/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints_mesh.txt mediapipe
	touch $@

.PHONY: train
train: check-stage $(if $(filter gpu,$(DEVICE)),caffe-gpu,caffe) $(STAMPS)/train ## make train STAGE=1|2|3|cascade [ITERATIONS=N] [ON_THE_FLY=1] [DEVICE=gpu]: train, or resume
	$(BIN)/facealign train --stage $(STAGE) --device $(DEVICE) --seed $(SEED) $(if $(ON_THE_FLY),--on-the-fly) \
		$(if $(ITERATIONS),--iterations $(ITERATIONS)) $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(ARGS)

.PHONY: evaluate
evaluate: check-data $(STAMPS)/train ## make evaluate [DATA=data] [WEIGHTS=FILE]: NME and other figures; default: of the newest trained weights
	$(BIN)/facealign evaluate --data "$(DATA)" $(if $(WEIGHTS),--weights "$(WEIGHTS)") \
		--json "$(OUT)/evaluation.json" --markdown --plot $(ARGS)

.PHONY: report
report: $(STAMPS)/report ## make report [EVALUATIONS="FILE ..."] [RUNS="DIR ..."] [DATA=ROOT]: out/report.html: figures, curves, faces, training
	$(BIN)/facealign report $(if $(EVALUATIONS),$(EVALUATIONS),"$(OUT)/evaluation.json") --html "$(OUT)/report.html" \
		$(foreach run,$(RUNS),--log "$(run)") $(if $(filter command,$(origin DATA)),--data "$(DATA)") $(ARGS)

.PHONY: reproduce
reproduce: check-data caffe mesh $(STAMPS)/train ## make reproduce [DATA=data]: train and evaluate all released weights again; hours, resumable
	$(BIN)/facealign reproduce --data "$(DATA)" $(ARGS)

.PHONY: bench
bench: caffe $(STAMPS)/train ## compare speed and memory with other frameworks; docs/benchmarks.md [ARGS="--only training"]
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: runtimes
runtimes: check-data caffe $(STAMPS)/runtimes ## make runtimes [DATA=data]: size, time and error in each runtime, float32 and int8; docs/runtimes.md
	$(BIN)/python -m benchmarks.runtimes --data "$(DATA)" $(ARGS)

.PHONY: prototxt
prototxt: $(STAMPS)/demo ## write prototxt/ from the recipes
	$(BIN)/facealign make-prototxt

# --- check ----------------------------------------------------------------------------------------------------
# A process of pytest for each core; with ARGS="-n 0" one only, for a debugger or a test's own output.
ON_ALL_CORES = --numprocesses auto --maxprocesses 8 --dist worksteal
.PHONY: test
test: lint caffe mesh ## build Caffe, then lint, types and every test, on all cores, with facealign/'s coverage [ARGS="-n 0": on one]
	$(BIN)/python -m pytest -q $(ON_ALL_CORES) --cov=facealign --cov-report=term:skip-covered $(ARGS)

.PHONY: test-slow
test-slow: caffe $(STAMPS)/dev ## the tests that take minutes each
	$(BIN)/python -m pytest -q -m slow $(ARGS)

.PHONY: test-faults
test-faults: caffe $(STAMPS)/dev ## kill every program in the middle, fill the disk, feed it what is broken (minutes)
	$(BIN)/python -m pytest -q -m faults $(ARGS)

.PHONY: test-arm
test-arm: caffe $(STAMPS)/dev ## test the kernels on 64-bit ARM, cross-compiled and emulated (installs both tools)
	@tools/debian_packages.sh --install arm
	$(BIN)/python -m pytest -q -m arm $(ARGS)

.PHONY: test-opencv4
test-opencv4: caffe ## test all that uses OpenCV with the oldest supported version, in .venv-opencv4
	test -x .venv-opencv4/bin/python || $(BIN)/python -m venv .venv-opencv4
	wheel=$$($(BIN)/python custom_caffe/build.py --venv $(VENV)) && \
	pip=".venv-opencv4/bin/python -m pip install --quiet --disable-pip-version-check" && \
	$$pip --editable ".[demo,train,runtimes]" pytest hypothesis "opencv-python==4.8.0.76" "numpy<2" "$$wheel" && \
	$$pip --force-reinstall --no-deps "$$wheel" # else pip keeps an older build of the same version
	.venv-opencv4/bin/python -m pytest -q -m "not slow" tests/engines tests/crops tests/detection tests/inference \
		tests/commands/test_align.py tests/io tests/caffe_files/test_original_weights.py \
		tests/custom_caffe/test_opencv4_importer.py $(ARGS)

.PHONY: test-caffe
test-caffe: $(STAMPS)/dev caffe ## upstream Caffe's own tests, C++ and Python, against our build (minutes to compile)
	$(BIN)/python custom_caffe/checks/run_upstream_tests.py --venv $(VENV)

.PHONY: test-pythons
test-pythons: $(STAMPS)/dev caffe ## the wheel and the pycaffe tests with each Python >= 3.11 here and protobuf 4 to 7
	$(BIN)/python custom_caffe/checks/try_pythons.py $(ARGS)

.PHONY: lint
lint: $(STAMPS)/dev ## ruff (format and rules), mypy --strict, the order of the packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@mkdir -p build; $(BIN)/lint-imports --no-cache > build/lint-imports.log || { cat build/lint-imports.log >&2; exit 1; }

.PHONY: clean
clean: ## remove everything built, but not data/ and runs/
	rm -rf $(VENV) .venv-opencv4 .venv-mesh build dist "$(OUT)"

# Before anything is built.
.PHONY: check-data check-stage
check-data:
	@test -d "$(DATA)" || { echo "make $(MAKECMDGOALS): $(DATA): no such folder: put 300w/ (or any photos with .pts \
beside them) into it, or give DATA=ROOT; docs/data.md says where to get them" >&2; exit 2; }
check-stage:
	@case "$(STAGE)" in 1|2|3|cascade) ;; *) echo "make $(MAKECMDGOALS): STAGE=$(STAGE): expected 1, 2, 3 or \
cascade" >&2; exit 2;; esac

define build_image
@command -v docker >/dev/null || \
	{ echo "make $@: docker is not installed; without it: docker/build_with_buildah.sh $(1), as root" >&2; exit 1; }
DOCKER_BUILDKIT=1 docker build --file docker/Dockerfile --target $(1) --tag facealign:$(1) $(ARGS) .
endef
