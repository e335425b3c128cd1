package backup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// restored is what the name of a file that is being restored goes on with, before a part that is made up.
const restored = ".restored-"

// CreateTemp makes, in a state directory, the file that is to be name once it is whole.
func CreateTemp(dir, name string) (*os.File, error) { return os.CreateTemp(dir, name+restored+"*") }

// RemoveLeft removes what restores of name that were killed have left. It is called with the directory locked: no restore is under way.
func RemoveLeft(dir, name string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		number, ours := strings.CutPrefix(e.Name(), name+restored)
		if ours && number != "" && strings.Trim(number, "0123456789") == "" && e.Type().IsRegular() { // as CreateTemp names them: somebody else's copy stays
			if rerr := os.Remove(filepath.Join(dir, e.Name())); !errors.Is(rerr, os.ErrNotExist) {
				err = errors.Join(err, rerr)
			}
		}
	}
	return err
}
