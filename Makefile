# `make` lists the targets. Each sets up what it needs in .venv, and again only when that changed.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
export PYTHON VENV
# They share one virtual environment.
.NOTPARALLEL:

DATA ?=
STAGE ?= 1
ITERATIONS ?=
DEVICE ?= cpu
CUDNN ?=
NCCL ?=
COPIES ?= 30
# 1: samples varied anew each time, from loose crops.
FRESH ?=
SEED ?= 0
BOXES ?= data/boxes.json
WEIGHTS ?=
ARGS ?=
# Set in a container's image, where Caffe is installed and there is nothing to build it with.
CAFFE_PREBUILT ?=
OUT ?= out

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up ---------------------------------------------------------------------------------------------------
$(STAMPS)/%: pyproject.toml constraints.txt tools/setup_venv.sh
	@tools/setup_venv.sh $*
	@mkdir -p $(STAMPS) && touch $@

.PHONY: caffe
caffe: $(STAMPS)/demo ## build our Caffe (minutes; again only what changed) and install it into .venv
	$(if $(CAFFE_PREBUILT),,$(BIN)/python custom_caffe/build.py --venv $(VENV))

.PHONY: caffe-gpu
caffe-gpu: $(STAMPS)/demo ## the same with CUDA, in its place [CUDNN=0|1] [NCCL=1]; needs no GPU to build
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
wheel-check: $(STAMPS)/demo ## try that wheel on a bare Debian: a file system of its own in build/, as root
	$(BIN)/python tools/check_wheel.py $$($(BIN)/python custom_caffe/build.py --portable)

# --- use ------------------------------------------------------------------------------------------------------
.PHONY: demo
demo: $(STAMPS)/demo ## faces in, pictures and landmarks.json out, with the released weights; needs no Caffe
	$(BIN)/python tools/fetch_demo_photos.py --output build/demo/photos
	$(BIN)/python demo.py --images build/demo/photos --output $(OUT)/demo $(ARGS)

.PHONY: lmdb
lmdb: $(STAMPS)/train ## make lmdb DATA=ROOT [COPIES=30|FRESH=1] [SEED=0]: find the faces, write the LMDBs for training
	$(call needed,DATA,the folder that holds 300w/ and other folders of pictures with .pts)
	$(BIN)/python tools/detect_faces.py --data $(DATA) --output $(BOXES)
	$(BIN)/python tools/make_lmdb.py --data $(DATA) --boxes $(BOXES) --seed $(SEED) \
		$(if $(FRESH),--fresh,--copies $(COPIES)) $(ARGS)

.PHONY: train
train: $(if $(filter gpu,$(DEVICE)),caffe-gpu,caffe) $(STAMPS)/train ## make train STAGE=1|2|3|cascade [ITERATIONS=N] [FRESH=1] [DEVICE=gpu]: train, or go on where it stopped
	$(BIN)/python tools/train.py --stage $(STAGE) --device $(DEVICE) --seed $(SEED) $(if $(FRESH),--fresh) \
		$(if $(ITERATIONS),--iterations $(ITERATIONS)) $(if $(WEIGHTS),--weights $(WEIGHTS)) $(ARGS)

.PHONY: evaluate
evaluate: $(STAMPS)/train ## make evaluate DATA=ROOT [WEIGHTS=FILE]: the numbers; default: the newest trained weights
	$(call needed,DATA,the 300-W tree or the folder that holds it)
	$(BIN)/python tools/evaluate.py --data $(DATA) $(if $(WEIGHTS),--weights $(WEIGHTS)) \
		--json $(OUT)/evaluation.json --markdown --plot $(ARGS)

.PHONY: reproduce
reproduce: caffe $(STAMPS)/train ## make reproduce DATA=ROOT: all released weights and their figures, anew; hours, goes on where it stopped
	$(call needed,DATA,the folder that holds 300w/ and other folders of pictures with .pts)
	$(BIN)/python tools/reproduce.py --data $(DATA) $(ARGS)

.PHONY: bench
bench: caffe $(STAMPS)/train ## speed and memory against other frameworks, in turn; docs/benchmarks.md [ARGS="--only training"]
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: prototxt
prototxt: $(STAMPS)/demo ## write prototxt/ from the recipes
	$(BIN)/python tools/make_prototxt.py

# --- check ----------------------------------------------------------------------------------------------------
.PHONY: test
test: lint caffe ## build Caffe, then lint, types and every test
	$(BIN)/python -m pytest -q $(ARGS)

.PHONY: test-slow
test-slow: caffe $(STAMPS)/dev ## the tests that take minutes each
	$(BIN)/python -m pytest -q -m slow $(ARGS)

.PHONY: test-arm
test-arm: caffe $(STAMPS)/dev ## our kernels on 64-bit ARM, compiled here and run by an emulator (installs both)
	cd custom_caffe && "$(CURDIR)/$(BIN)/python" -c "from builder.packages import install_missing; \
		install_missing(['g++-aarch64-linux-gnu', 'qemu-user'])"
	$(BIN)/python -m pytest -q -m arm $(ARGS)

.PHONY: test-opencv4
test-opencv4: caffe ## what uses OpenCV, with the oldest version we support and its Caffe reader, in .venv-opencv4
	test -x .venv-opencv4/bin/python || $(BIN)/python -m venv .venv-opencv4
	wheel=$$($(BIN)/python custom_caffe/build.py --venv $(VENV)) && \
	pip=".venv-opencv4/bin/python -m pip install --quiet --disable-pip-version-check" && \
	$$pip --editable ".[demo,train]" pytest hypothesis "opencv-python==4.8.0.76" "numpy<2" "$$wheel" && \
	$$pip --force-reinstall --no-deps "$$wheel" # or pip keeps an older build of the same version
	.venv-opencv4/bin/python -m pytest -q -m "not slow" tests/engines tests/test_aligner.py tests/test_crop.py \
		tests/test_demo.py tests/test_detection.py tests/test_drawing.py tests/test_export.py tests/test_images.py \
		tests/test_original_weights.py tests/custom_caffe/test_opencv4_importer.py $(ARGS)

.PHONY: test-caffe
test-caffe: $(STAMPS)/dev caffe ## upstream Caffe's own tests, C++ and Python, against our build (minutes to compile)
	$(BIN)/python custom_caffe/test_upstream.py --venv $(VENV)

.PHONY: test-pythons
test-pythons: $(STAMPS)/dev caffe ## the wheel and the pycaffe tests with each Python >= 3.11 here and protobuf 4 to 7
	$(BIN)/python custom_caffe/test_pythons.py $(ARGS)

.PHONY: lint
lint: $(STAMPS)/dev ## ruff (format and rules) and mypy --strict
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.PHONY: clean
clean: ## remove what is built, but neither data/ nor runs/
	rm -rf $(VENV) .venv-opencv4 build dist $(OUT)

needed = @test -n "$($(1))" || { echo "make $@: give $(1)=..., $(2)" >&2; exit 2; }

define build_image
@command -v docker >/dev/null || \
	{ echo "make $@: docker is not installed; without it: docker/build_with_buildah.sh $(1), as root" >&2; exit 1; }
DOCKER_BUILDKIT=1 docker build --file docker/Dockerfile --target $(1) --tag facealign:$(1) $(ARGS) .
endef
