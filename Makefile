# failback: what there is to do. `make` alone lists it.

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GEN_GRPC    := google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
TOOLS       := $(CURDIR)/build/tools

# COMMAND-or-FILE=DEBIAN-PACKAGE
NEED_DEMO := qemu-img=qemu-utils mkfs.ext4=e2fsprogs debugfs=e2fsprogs e2fsck=e2fsprogs
NEED_TEST := $(NEED_DEMO) mkfs.xfs=xfsprogs mkfs.btrfs=btrfs-progs mkfs.vfat=dosfstools nbdkit=nbdkit nbdcopy=libnbd-bin qemu-storage-daemon=qemu-system-common rsync=rsync socat=socat zstd=zstd gcc=gcc /usr/include/stdlib.h=libc6-dev
NEED_BENCH := mkfs.ext4=e2fsprogs nbdkit=nbdkit nbdcopy=libnbd-bin qemu-img=qemu-utils qemu-storage-daemon=qemu-system-common rsync=rsync socat=socat zstd=zstd fio=fio mkfs.btrfs=btrfs-progs

# Disk tools are not in the path of every user, and a checkout of another user's is a checkout too.
export PATH := $(PATH):/usr/sbin:/sbin
export GIT_CONFIG_COUNT := 1
export GIT_CONFIG_KEY_0 := safe.directory
export GIT_CONFIG_VALUE_0 := $(CURDIR)

# These build, and mean something, on Windows too.
WINDOWS := ./blockio/... ./retention/... ./source/... ./replication/... ./transport/...

help: ## what there is to do
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 \2/p' $(MAKEFILE_LIST) | awk '{printf "  make %-14s", $$2; $$1=$$2=""; print}'

build: ## the programs, into bin/
	go build -o bin/ ./cmd/...

man: build ## the manual pages, into bin/man/man1/
	@bin/failback man bin/man/man1
	@for d in process-server master-target; do bin/$$d man > bin/man/man1/$$d.1; done

test: ## everything, with the race detector, and more seeds of models without
	@scripts/need $(NEED_TEST)
	CGO_ENABLED=1 go test -race -timeout 14m ./...
	go test -timeout 5m -run '^(TestModel|TestFlaps)$$' ./retention ./transport

check: check-generated ## formatting, vet, staticcheck, generated code, import rules
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt -w:" $$unformatted; exit 1; }
	go vet ./...
	GOOS=windows go vet $(WINDOWS)
	GOOS=windows go vet -tags physicaldrive ./blockio
	go run $(STATICCHECK) ./...
	go test -count=1 -run '^TestImports' ./replication

mutations: ## leave out each rule that the journal stands on, and plant faults in the link: tests must find that out (minutes)
	go test -tags mutation -count=1 -timeout 30m -run '^TestMutations' -v ./retention ./transport

demo: build ## bring two machines home, and prove every step (KEEP=1, DISKS="a.raw b.raw", DIR=/where/there/is/space)
	@scripts/need $(NEED_DEMO)
	@bin/demo $(if $(KEEP),--keep) $(if $(DIR),--dir "$(DIR)") $(DISKS)

bench: ## measure against qemu-img, nbdcopy, QEMU's backup, rsync and zstd: about ten minutes (BENCH="flags and scenarios")
	@scripts/need $(NEED_BENCH) || echo "they are shown as missing" >&2
	go run ./bench $(BENCH)

bench-quick: ## the same with small disks: two minutes
	@scripts/need $(NEED_BENCH) || echo "they are shown as missing" >&2
	go run ./bench --quick $(BENCH)

bench-compare: ## the daemons of a revision beside the working tree's, in turn, told by benchstat (REF=main~10)
	go run ./bench/compare "$(REF)" $(BENCH)

bench-link: ## measure over links with a rate, a delay and bad days, beside bare TCP and zstd --adapt (root)
	go run ./bench $(BENCH) link

proto: generators ## generate the code of proto/ again
	PATH="$(TOOLS):$$PATH" go generate ./proto

clean: ## remove what was built
	rm -rf bin build

generators:
	@scripts/need protoc=protobuf-compiler
	@mkdir -p $(TOOLS)
	@go build -o $(TOOLS)/ google.golang.org/protobuf/cmd/protoc-gen-go
	@GOBIN=$(TOOLS) go install $(GEN_GRPC)

# The generated code is that of its generators; which protoc ran them does not matter.
check-generated:
	@if command -v protoc >/dev/null; then \
		$(MAKE) -s generators && rm -rf build/generated && mkdir -p build/generated && \
		cd proto && PATH="$(TOOLS):$$PATH" protoc --go_out=../build/generated --go_opt=module=failback --go-grpc_out=../build/generated --go-grpc_opt=module=failback -I . *.proto && \
		for f in *.pb.go; do diff -u -I 'protoc  *v' $$f ../build/generated/proto/$$f || { echo "proto/$$f is not what its .proto says: make proto"; exit 1; }; done; \
	else echo "no protoc here: generated code not looked at"; fi

.PHONY: help build man test check mutations demo bench bench-compare bench-link bench-quick proto clean generators check-generated
