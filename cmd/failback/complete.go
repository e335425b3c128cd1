package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"failback/replication"
	"failback/transport"
)

// completeWithin is how long a shell waits for words that the master target knows.
const completeWithin = 2 * time.Second

// completes has shells complete the arguments that a command's usage names, and those of the commands below it: groups, points, disks and process servers as the master target tells, files where files are meant.
func (t *tool) completes(c *cobra.Command) {
	for _, sub := range c.Commands() {
		t.completes(sub)
	}
	if c.Flags().Lookup("point") != nil {
		_ = c.RegisterFlagCompletionFunc("point", func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) { // fails only for a flag that is not there
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return t.known(c, "POINT", replication.GroupID(args[0])), cobra.ShellCompDirectiveNoFileComp
		})
	}
	words := strings.Fields(c.Use)[1:]
	if len(words) == 0 {
		return
	}
	c.ValidArgsFunction = func(c *cobra.Command, args []string, _ string) (found []string, then cobra.ShellCompDirective) {
		if len(args) >= len(words) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		switch word := strings.Trim(words[len(args)], "[]."); word {
		case "GROUP", "POINT", "DISK", "PROCESS-SERVER":
			group := ""
			if len(args) > 0 && words[0] != "DIR" {
				group = args[0]
			}
			return t.known(c, word, replication.GroupID(group)), cobra.ShellCompDirectiveNoFileComp
		case "PLAN", "FILE", "DIR", "CA-DIR", "CERTIFICATE", "MOUNTPOINT":
			return nil, cobra.ShellCompDirectiveDefault
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// known returns the groups, the process servers that are away, or the points or disks of a group, with what tells them apart; none where the master target does not answer.
func (t *tool) known(c *cobra.Command, word string, group replication.GroupID) (found []string) {
	ctx, cancel := context.WithTimeout(c.Context(), completeWithin)
	defer cancel()
	if t.settle(c) != nil {
		return nil
	}
	_ = t.with(func(m *transport.OperatorClient) error {
		if word == "POINT" {
			_, points, err := m.Points(ctx, group)
			if len(points) > 0 {
				found = append(found, latestPoint+"\tthe last point")
			}
			if slices.ContainsFunc(points, soundApp) {
				found = append(found, latestApp+"\tthe last that is application-consistent and sound")
			}
			for _, p := range points {
				found = append(found, fmt.Sprintf("%d\t%s, %s", p.ID, clock(p.Time), p.Kind))
			}
			return err
		}
		s, err := m.Status(ctx, group)
		if word == "PROCESS-SERVER" {
			for _, p := range s.Workers {
				if !p.Connected {
					found = append(found, p.Name+"\taway")
				}
			}
			return err
		}
		for _, g := range s.Groups {
			if word == "GROUP" {
				found = append(found, fmt.Sprintf("%s\t%s", g.Group, g.State))
				continue
			}
			for _, d := range g.Disks {
				found = append(found, string(d.Disk))
			}
			for _, d := range g.Departed {
				if !slices.Contains(found, string(d.Disk)) {
					found = append(found, string(d.Disk))
				}
			}
		}
		return err
	})
	return found
}
