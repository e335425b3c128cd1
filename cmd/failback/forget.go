package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"failback/transport"
)

func (t *tool) forgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "forget PROCESS-SERVER",
		Short: "Take a process server that has gone for good off the status",
		Long: `For a process server that was taken out of service: failback status tells of it no more, and its name is nobody's, so that the next one that comes by it, or enrols, has it.
It is refused while the process server is connected, and while a group has it in its plan: failback move has another one read that group. Nothing else changes: points, disks and groups stay.

Its certificate stays valid: failback pki revoke ends that. If it comes again it is let in, as a new one is.`,
		Example: "  failback forget ps1",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return t.with(func(m *transport.OperatorClient) error {
				key, err := m.ForgetServer(c.Context(), args[0])
				if err != nil {
					return err
				}
				return t.print(struct {
					Name string `json:"name"`
					Key  string `json:"key"`
				}{args[0], key}, func(w io.Writer) {
					fmt.Fprintf(w, "process server %s is forgotten", args[0])
					if key != "" {
						fmt.Fprintf(w, "; its key was %s", key)
					}
					fmt.Fprintln(w, "\nIts certificate is valid still: failback pki revoke ends that")
				})
			})
		},
	}
}
