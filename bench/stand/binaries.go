package stand

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Binaries are the three programs, in one directory.
type Binaries struct{ Dir string }

// Path returns where a program is: failback, master-target or process-server.
func (b Binaries) Path(program string) string { return filepath.Join(b.Dir, program) }

// Build builds the programs into dir with go build and the given flags (-race, for instance). It is called below the module's root.
func Build(dir string, flags ...string) (Binaries, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Binaries{}, fmt.Errorf("build: %w", err)
	}
	if err := os.MkdirAll(abs, 0o755); err != nil {
		return Binaries{}, fmt.Errorf("build: %w", err)
	}
	args := append([]string{"build", "-o", abs + string(filepath.Separator)}, flags...)
	args = append(args, "failback/cmd/failback", "failback/cmd/master-target", "failback/cmd/process-server")
	if said, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return Binaries{}, fmt.Errorf("build the programs: %w\n%s", err, said)
	}
	return Binaries{Dir: abs}, nil
}
