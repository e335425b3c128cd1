package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
)

func (t *tool) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages: one for each command",
		Long: `Writes manual pages into a directory, which is made: failback.1, and one for each command, as failback-status.1. They say what --help says.
The daemons write theirs to standard output: process-server man, master-target man.`,
		Example: "  failback man /usr/local/share/man/man1 && man failback-commit",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			dir, pages := args[0], []string{}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("write the manual: %w", err)
			}
			for _, one := range available(c.Root()) {
				name := settings.ManName(one)
				if err := os.WriteFile(filepath.Join(dir, name), settings.Man(one), 0o644); err != nil {
					return fmt.Errorf("write the manual: %w", err)
				}
				pages = append(pages, name)
			}
			return t.print(map[string]any{"dir": dir, "pages": pages}, func(w io.Writer) {
				fmt.Fprintf(w, "%s in %s\n", plural(len(pages), "page"), dir)
			})
		},
	}
}

// available returns a command and all below it that --help lists.
func available(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			all = append(all, available(sub)...)
		}
	}
	return all
}
