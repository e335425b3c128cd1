package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"failback/replication"
)

const (
	magic   = "failback-backup"
	version = 1
)

// Max is the size of the largest backup, in bytes.
const Max = 64 << 20

// Errors that Decode has in its chain.
var (
	ErrNotBackup = errors.New("not a backup of failback's")
	ErrNewer     = errors.New("of a newer version")
	ErrDamaged   = errors.New("damaged")
)

// File is a backup.
type File struct {
	Made    time.Time `json:"made"`
	Program string    `json:"program,omitempty"` // release that made it
	// Owner names the master target in its journals, Host its machine for people, Machine for us; "": not known.
	Owner   string `json:"owner"`
	Host    string `json:"host,omitempty"`
	Machine string `json:"machine,omitempty"`

	// Records are those of the catalogue, by bucket and key, as it has them.
	Records  map[string]map[string]json.RawMessage `json:"records"`
	Throttle string                                `json:"throttle,omitempty"` // schedule of the link's limits
	// Generations are those of the groups whose journals were open: there may have been higher ones since.
	Generations map[replication.GroupID]replication.Generation `json:"generations"`
	Jobs        []replication.Job                              `json:"jobs"`
}

// Encode returns the text of a backup.
func Encode(f File) ([]byte, error) {
	document, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write a backup: %w", err)
	}
	document = append(document, '\n')
	sum := sha256.Sum256(document)
	text := append(fmt.Appendf(nil, "%s %d %d %s\n", magic, version, len(document), hex.EncodeToString(sum[:])), document...)
	if len(text) > Max {
		return nil, fmt.Errorf("write a backup: it has %d bytes, and may have %d", len(text), Max)
	}
	return text, nil
}

// Decode reads the text of a backup.
func Decode(text []byte) (f File, err error) {
	head, document, ok := bytes.Cut(text, []byte("\n"))
	var v, n int64
	var sum string
	if !ok || len(text) > Max || !bytes.HasPrefix(head, []byte(magic+" ")) {
		return f, ErrNotBackup
	}
	if _, err := fmt.Sscanf(string(head), magic+" %d", &v); err != nil || v < 1 {
		return f, fmt.Errorf("%w: its first line is %.80q", ErrNotBackup, head)
	}
	if v > version {
		return f, fmt.Errorf("%w: it is of version %d, and this program knows %d", ErrNewer, v, version)
	}
	if _, err := fmt.Sscanf(string(head), magic+" %d %d %64s", &v, &n, &sum); err != nil || string(head) != fmt.Sprintf("%s %d %d %s", magic, v, n, sum) {
		return f, fmt.Errorf("%w: its first line is %.120q", ErrDamaged, head)
	}
	if int64(len(document)) != n {
		return f, fmt.Errorf("%w: it has %d bytes after its first line, and was written with %d", ErrDamaged, len(document), n)
	}
	if is := sha256.Sum256(document); hex.EncodeToString(is[:]) != sum {
		return f, fmt.Errorf("%w: its content is not that which was written", ErrDamaged)
	}
	if err := json.Unmarshal(document, &f); err != nil {
		return f, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return f, nil
}
