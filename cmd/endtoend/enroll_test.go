package endtoend

import (
	"bytes"
	"encoding/pem"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"failback/bench/stand"
)

// TestEnrolledProcessServer takes a process server through its life: a token, a certificate, the place of another of its name, replication, the end by revocation. None of the secrets on
// the way is in a log, in the state, in metrics or in what was printed.
func TestEnrolledProcessServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, &disk{machine: "m", id: "d", format: "raw", size: 2 * mib})
	p := w.refused(1, []string{"ps1", "already"}, "pki", "token", "ps1")
	if p.Code != "name-bound" {
		t.Errorf("a token for a name that is taken: %+v", p)
	}
	file, dir := filepath.Join(w.Dir, "token"), filepath.Join(w.Dir, "enrolled")
	var token struct{ Token, File string }
	w.must(w.Do(w.ctx, &token, "pki", "token", "ps1", "--replace", "--token-file", file))
	text, err := os.ReadFile(file)
	w.must(err)
	if token.Token != "" || !strings.HasPrefix(string(text), "fbt1.") {
		t.Fatalf("got %+v, and %d bytes in its file", token, len(text))
	}
	secret := strings.Split(string(text), ".")[2]
	enroll := []string{"pki", "enroll", "--master-target", w.Listen, "--out", dir, "--token-file", file}
	w.must(os.Chmod(file, 0o644))
	w.refused(1, []string{"others"}, enroll...)
	w.must(os.Chmod(file, 0o600))
	out, said, code := w.CLI(w.ctx, enroll...)
	if code != 0 || !strings.Contains(string(out), "enrolled") {
		t.Fatalf("enroll: %d, %s%s", code, out, said)
	}
	again := append([]string{}, enroll...)
	again[5] = filepath.Join(w.Dir, "other")
	p = w.refused(1, nil, again...)
	if p.Code != "token-refused" {
		t.Errorf("a token used twice: %+v", p)
	}

	// The one that had the name is sent away, and does not get in again.
	w.said(w.ProcessServer, 0, "name-bound", time.Now(), patient)
	w.must(w.StopProcessServer())
	w.ProcessServerFlags = []string{"--pki", dir}
	w.must(w.StartProcessServer())
	w.must(w.WaitConnected(w.ctx))
	w.protect()
	w.shows(1)
	metrics := ""
	for _, d := range []*stand.Daemon{w.MasterTarget, w.ProcessServer} {
		answer, err := http.Get("http://" + d.Metrics + "/metrics")
		w.must(err)
		b, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		w.must(err)
		metrics += string(b)
	}

	// Revoked, it is out within seconds.
	from := w.logged(w.MasterTarget)
	w.must(w.Do(w.ctx, nil, "pki", "revoke", w.PKI, filepath.Join(dir, "process-server.crt")))
	began := time.Now()
	w.said(w.MasterTarget, from, "connection ended", began, patient)
	w.said(w.MasterTarget, from, "refused a connection", began, patient)
	w.must(w.Stop())

	secrets := [][]byte{[]byte(secret)}
	for _, key := range []string{filepath.Join(dir, "process-server.key"), filepath.Join(w.PKI, "master-target.key"), filepath.Join(w.PKI, "enroller.key"), filepath.Join(w.PKI, "ca.key")} {
		b, err := os.ReadFile(key)
		w.must(err)
		block, _ := pem.Decode(b)
		secrets = append(secrets, block.Bytes, bytes.Split(b, []byte("\n"))[1])
	}
	looked := 0
	for _, root := range []string{w.State, w.PSState, w.Logs, w.Retention} {
		w.must(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			looked++
			for _, s := range secrets {
				if bytes.Contains(b, s) || strings.Contains(path, string(s)) {
					t.Errorf("%s holds a secret", path)
				}
			}
			return nil
		}))
	}
	for _, s := range secrets {
		if strings.Contains(metrics+string(out)+string(said), string(s)) {
			t.Error("a secret is in metrics, or was printed")
		}
	}
	if looked < 5 || len(metrics) < 1000 {
		t.Errorf("%d files and %d bytes of metrics were looked at: the test looks in the wrong place", looked, len(metrics))
	}
}
