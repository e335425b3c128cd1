package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"failback/blockio"
)

func (t *tool) diskCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Check that a disk is sound; exit code 1 with a list if it is not",
		Long: `Checks all that describes a disk: the descriptor, the sizes of its files, and of sparse disks every entry of every table, both copies. It does not read what is stored on the disk,
and changes nothing. Each finding names file and offset; at most a hundred are listed.

A disk that is being written may look damaged while it is.`,
		Example: "  failback disk check erp-db.vmdk",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return t.diskCheck(args[0]) },
	}
}

func (t *tool) diskCheck(path string) error {
	findings, err := blockio.Check(path)
	if err != nil {
		return diskProblem(path, err)
	}
	result := struct {
		File     string   `json:"file"`
		Findings []string `json:"findings"`
		Sound    bool     `json:"sound"`
	}{path, []string{}, len(findings) == 0}
	for _, f := range findings {
		result.Findings = append(result.Findings, f.Error())
	}
	err = t.print(result, func(w io.Writer) {
		for _, f := range result.Findings {
			fmt.Fprintln(w, f)
		}
		if result.Sound {
			fmt.Fprintf(w, "%s is sound\n", path)
		} else {
			fmt.Fprintf(w, "%s: %s; what can be read of it is read as far as the damage, never past it\n", path, plural(len(findings), "finding"))
		}
	})
	if err == nil && !result.Sound {
		err = errQuiet
	}
	return err
}
