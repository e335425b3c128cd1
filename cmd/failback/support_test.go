package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"failback/replication"
	"failback/transport/operatortest"
)

func TestSupportWritesOneArchive(t *testing.T) {
	f := staged()
	f.OnSupport = func(g replication.GroupID, give func(string, []byte) error) error {
		if g != "erp" {
			return &replication.Problem{Code: "no-such-group", Message: "there is no group"}
		}
		if err := give("status.json", []byte("{}")); err != nil {
			return err
		}
		return give("../../profiles/heap", bytes.Repeat([]byte("x"), 1<<20))
	}
	address := operatortest.Serve(t, f)
	out := filepath.Join(t.TempDir(), "erp.tar.gz")
	if got := failback(t.Context(), "", "support", "erp", "--out", out, "--json", "--operator", address); got.code != 0 || got.out != `{"file":"`+out+`","files":["status.json","profiles/heap","failback.json"]}`+"\n" {
		t.Fatalf("got %+v", got)
	}
	file, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	zip, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if got := strings.Join(names, " "); got != "failback-support/status.json failback-support/profiles/heap failback-support/failback.json" {
		t.Errorf("got %s", got)
	}
	if got := failback(t.Context(), "", "support", "erp", "--out", out, "--operator", address); got.code != 1 || !strings.Contains(got.err, "exists") {
		t.Errorf("over a file that exists: got %+v", got)
	}
	none := filepath.Join(t.TempDir(), "none.tar.gz")
	if got := failback(t.Context(), "", "support", "nope", "--out", none, "--operator", address); got.code != 1 {
		t.Errorf("no such group: got %+v", got)
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("half an archive stays")
	}
}
