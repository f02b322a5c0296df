FUZZTIME ?= 30s
BENCHTIME ?= 1s
LINT = go tool -modfile=tools/go.mod golangci-lint

.PHONY: help test race conformance lint fmt fuzz bench microbench tidy

help: ## print this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

test: ## run all tests
	go test ./...

race: ## run all tests with the race detector
	go test -race ./...

conformance: ## run what GORM can do, on Postgres and SQLite, in a module of its own
	go -C tests/orm test ./...

lint: ## run golangci-lint, pinned in tools/go.mod
	$(LINT) run ./...
	cd tests/bench && go tool -modfile=../../tools/go.mod golangci-lint run --config ../../.golangci.yml ./...
	cd tests/orm && go tool -modfile=../../tools/go.mod golangci-lint run --config ../../.golangci.yml ./...

fmt: ## format all Go files
	$(LINT) fmt

fuzz: ## run each fuzz target for FUZZTIME (30s)
	.ci/fuzz $(FUZZTIME)

bench: ## measure durable delivery beside its peers, about 20 minutes; BENCH='-only drain' for a part
	go -C tests/bench run . $(BENCH)

microbench: ## run all Go benchmarks, each for BENCHTIME (1s)
	go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./internal/row ./tests/...

tidy: ## tidy all go.mod files
	go mod tidy && go -C tools mod tidy && go -C tests/bench mod tidy && go -C tests/orm mod tidy
