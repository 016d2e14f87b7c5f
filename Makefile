# haft: what people run. Each target is a script under scripts/, which says what it does and installs what it needs.
.PHONY: demo test test-vm test-gate build lint sim planted bench-failover bench-fence bench-gate test-pacemaker fuzz fresh-root test-mixtures test-calm

demo: ## The main job on real parts: three nodes, real Raft, real addresses, real power-off (root; KEEP=1 leaves it up).
	@KEEP=$(KEEP) DEMO_BREAK=$(DEMO_BREAK) BUILT=$(BUILT) scripts/demo

test: ## Every suite, compared with tests/suites.txt (root).
	@scripts/test

test-vm: ## haft in three virtual machines with Debian's kernel (root; STORIES="..." for some).
	@STORIES="$(STORIES)" scripts/test-vm

test-gate: ## The gate's tests in guests with Debian's 6.1 and 6.12 kernels (root; KERNELS=6.1 for one).
	@KERNELS="$(KERNELS)" TESTS="$(TESTS)" scripts/test-gate

build: ## Release binaries in target/release.
	@. scripts/build-env && cargo build --release --locked

lint: ## Formatting and clippy.
	@. scripts/build-env && cargo fmt --all --check && cargo clippy --workspace --all-targets --locked -- -D warnings

sim: ## SEEDS whole-cluster histories (default 5000).
	@. scripts/build-env && cargo run --release --locked -p haft-sim -- run --seeds $(or $(SEEDS),5000)

planted: ## Every planted bug, each caught by the default seeds.
	@. scripts/build-env && cargo run --release --locked -p haft-sim --features planted-bugs -- planted

bench-failover: ## Beside real Keepalived in the same lab (root; RUNS=5). Figures in target/figures/failover.json.
	@RUNS=$(RUNS) scripts/bench-failover

bench-fence: ## Our IPMI agent beside fence_ipmilan against one simulator (RUNS=5). Figures in target/figures/fence.json.
	@RUNS=$(RUNS) scripts/bench-fence

bench-gate: ## What the kernel gate costs a renewal and forwarded packets (root; RUNS=5). Figures in target/figures/gate.json.
	@RUNS=$(RUNS) scripts/bench-gate

test-pacemaker: ## A whole Pacemaker cluster in namespaces that fences with our agent (root).
	@scripts/test-pacemaker

test-calm: ## Ten minutes at preset fast with every processor busy: no session may end (root; OPTIONS="--minutes 2").
	@scripts/test-calm $(OPTIONS)

test-mixtures: ## Each ordered pair of timing presets, in files and by command, judged from outside (root; OPTIONS="--kind files").
	@scripts/test-mixtures $(OPTIONS)

fuzz: ## libFuzzer on every parser, SECONDS=60 each (TARGETS="..." for some; KEEP=1 adds to fuzz/corpus).
	@SECONDS="$(SECONDS)" TARGETS="$(TARGETS)" KEEP="$(KEEP)" scripts/fuzz

fresh-root: ## `make demo` and `make test` on a bare Debian 12, cold: an hour or two (root; OPTIONS="--only demo --cached").
	@scripts/fresh-root $(OPTIONS)
