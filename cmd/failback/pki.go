package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"failback/transport/pki"
)

func (t *tool) pkiCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "pki",
		Short: "Make the certificates by which servers know each other",
		Args:  cobra.ArbitraryArgs,
		RunE:  t.needsCommand,
	}
	c.AddCommand(&cobra.Command{
		Use:   "init DIR",
		Short: "Make a certificate authority and a certificate for each role",
		Long: `Makes in DIR a certificate authority and, signed by it, the certificates of master-target, process-server and operator.

Do it once. Then copy to each machine ca.crt and the two files of its role, and name their directory there by --pki:

  the master target    ca.crt  master-target.crt   master-target.key
  a process server     ca.crt  process-server.crt  process-server.key
  an operator          ca.crt  operator.crt        operator.key   (not needed with the master target's unix socket)

Keys must stay readable by their owner only. ca.key is needed by no server: keep it offline. Nothing is ever overwritten.`,
		Example: "  failback pki init /etc/failback/pki",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return t.pkiInit(args[0]) },
	})
	return c
}

func (t *tool) pkiInit(dir string) error {
	made, err := pki.Init(dir)
	if err != nil {
		return err
	}
	result := struct {
		Directory   string   `json:"directory"`
		Files       []string `json:"files"`
		Fingerprint string   `json:"fingerprint"`
		Until       string   `json:"until"`
	}{dir, nil, made.Fingerprint, made.Until.UTC().Format("2006-01-02T15:04:05Z07:00")}
	for _, f := range made.Files {
		result.Files = append(result.Files, filepath.Base(f))
	}
	return t.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "made a certificate authority (%s) and the certificates of 3 roles in %s, valid until %s\n", made.Fingerprint, dir, made.Until.Format("2006-01-02"))
		fmt.Fprintf(w, "Next: copy ca.crt and each role's .crt and .key to its machine; keep %s offline.\n", filepath.Join(dir, "ca.key"))
	})
}
