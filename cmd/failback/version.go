package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
)

func (t *tool) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which build this tool is",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := settings.Version()
			return t.print(b, func(w io.Writer) { fmt.Fprintln(w, "failback", b) })
		},
	}
}
