package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

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
	c.AddCommand(t.pkiIssueCommand(), t.pkiRevokeCommand(), t.pkiTokenCommand(), t.pkiEnrollCommand())
	c.AddCommand(&cobra.Command{
		Use:   "init DIR",
		Short: "Make a certificate authority and a certificate for each role",
		Long: `Makes in DIR a certificate authority and, signed by it, the certificates of master-target, process-server and operator.

Do it once. Then copy to each machine ca.crt and the two files of its role, and name their directory there by --pki:

  the master target    ca.crt  master-target.crt   master-target.key
  a process server     ca.crt  process-server.crt  process-server.key
  an operator          ca.crt  operator.crt        operator.key   (not needed with the master target's unix socket)

With enroller.crt and enroller.key beside its own, the master target lets process servers enrol by a token (failback pki enroll): these two can issue
certificates of process servers, and nothing else.

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
		fmt.Fprintf(w, "made a certificate authority (%s) and the certificates of 3 roles and an enroller in %s, valid until %s\n", made.Fingerprint, dir, made.Until.Format("2006-01-02"))
		fmt.Fprintf(w, "Next: copy ca.crt and each role's .crt and .key to its machine; keep %s offline.\n", filepath.Join(dir, "ca.key"))
	})
}

func (t *tool) pkiIssueCommand() *cobra.Command {
	var out, name string
	var keep bool
	c := &cobra.Command{
		Use:   "issue CA-DIR ROLE --out DIR",
		Short: "Make another certificate, or renew one, with the CA's key",
		Long: `Makes in --out a key and a certificate of ROLE (master-target, process-server, operator or enroller), signed by the CA in CA-DIR, which must hold ca.crt and ca.key.
Nothing is overwritten, but with --keep-key: then the certificate in --out is replaced by a new one for the same key.

Servers look at their files every few seconds: a renewed certificate is used for new connections, without a restart, and connections that are there go on. While files do not
fit together, as between the copying of a key and of its certificate, the old ones stay in use and the log says so.

A process server's name is bound to its key. With --keep-key it stays so; a new key is let in by failback rebind.`,
		Example: "  failback pki issue /safe/pki master-target --out /etc/failback/pki --keep-key\n  failback pki issue /safe/pki process-server --name ps2 --out ps2",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			ca, err := pki.OpenAuthority(args[0])
			if err != nil {
				return err
			}
			files, err := ca.Issue(out, pki.Role(args[1]), name, keep)
			if err != nil {
				return err
			}
			return t.print(struct {
				Files []string `json:"files"`
			}{files}, func(w io.Writer) { fmt.Fprintf(w, "made %s\n", strings.Join(files, ", ")) })
		},
	}
	c.Flags().StringVar(&out, "out", "", "`DIR` for the key and the certificate")
	c.Flags().StringVar(&name, "name", "", "`NAME` of the process server: it may register by no other one (default: any)")
	c.Flags().BoolVar(&keep, "keep-key", false, "renew the certificate that is in --out, for the same key")
	_ = c.MarkFlagRequired("out")
	return c
}

func (t *tool) pkiRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke CA-DIR CERTIFICATE...",
		Short: "Revoke certificates",
		Long: `Adds certificates to the list of revoked ones, ca.crl in CA-DIR, which must hold ca.crt and ca.key. Each is given as its .crt file, or by its serial number, which the
master target's log tells. By its file, it goes with all other certificates of its key, such as those from before a renewal; by its number, it goes alone.

Copy ca.crl beside ca.crt to the master target and the process servers: within seconds, and without a restart, revoked peers are refused, and the connections that they
have end. Revoking enroller.crt revokes all that were enrolled by it. A list stays in force: an older one, or none, is not taken in its place.`,
		Example: "  failback pki revoke /safe/pki old/process-server.crt",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			ca, err := pki.OpenAuthority(args[0])
			if err != nil {
				return err
			}
			all, err := ca.Revoke(args[0], args[1:]...)
			if err != nil {
				return err
			}
			file := filepath.Join(args[0], "ca.crl")
			return t.print(struct {
				File    string   `json:"file"`
				Revoked []string `json:"revoked"`
			}{file, all}, func(w io.Writer) {
				fmt.Fprintf(w, "%s names %d certificates now\nNext: copy it beside ca.crt to the master target and to the process servers.\n", file, len(all))
			})
		},
	}
}
