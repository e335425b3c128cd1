package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"failback/blockio"
)

func (t *tool) diskRepairCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "repair FILE",
		Short: "Put right what is provably right again: tables of a sparse disk, from their copies",
		Long: `A sparse VMDK keeps its tables twice. Where one of the two is damaged and the other sound, the damaged one is replaced. What would come of it is checked in full
before anything is written, and what stood there is copied to a file beside the disk. Everything else is refused, and nothing is changed then: two tables that are
sound and differ, a disk that was not closed cleanly, or is in use. What is stored on the disk is never touched.`,
		Example: "  failback disk check erp-db.vmdk || failback disk repair erp-db.vmdk",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return t.diskRepair(args[0]) },
	}
}

func (t *tool) diskRepair(path string) error {
	done, err := blockio.Repair(path)
	if err != nil {
		return diskProblem(path, err)
	}
	result := struct {
		File    string   `json:"file"`
		Changes []string `json:"changes"`
		Copies  []string `json:"copies"`
	}{path, append([]string{}, done.Changes...), append([]string{}, done.Copies...)}
	return t.print(result, func(w io.Writer) {
		if len(done.Changes) == 0 {
			fmt.Fprintf(w, "%s: nothing to repair\n", path)
			return
		}
		for _, c := range done.Changes {
			fmt.Fprintln(w, c)
		}
		for _, c := range done.Copies {
			fmt.Fprintf(w, "what stood there is in %s; xxd -r puts it back\n", c)
		}
	})
}
