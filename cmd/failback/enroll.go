package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"failback/replication"
	"failback/replication/link"
	"failback/transport"
	"failback/transport/pki"
)

func (t *tool) pkiTokenCommand() *cobra.Command {
	var life time.Duration
	var replace bool
	var out string
	c := &cobra.Command{
		Use:   "token NAME",
		Short: "Make a token by which a new process server gets its certificate",
		Long: `Asks the master target for a token by which one process server may enrol, once, by that name, with failback pki enroll. The token names the CA, so that the process
server gives it to no other master target; whoever has it can become that process server, until it is used or has expired: carry it as you would a password.

The master target needs enroller.crt and enroller.key in its --pki directory.`,
		Example: "  failback pki token ps2 --token-file ps2.token",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return t.with(func(m *transport.OperatorClient) error {
				text, until, err := m.Token(c.Context(), args[0], life, replace)
				if err != nil {
					return err
				}
				return t.printToken(args[0], text, until, out)
			})
		},
	}
	c.Flags().DurationVar(&life, "for", time.Hour, "how long it may be used, a day at most")
	c.Flags().BoolVar(&replace, "replace", false, "the new process server takes the place of the one that has the name")
	c.Flags().StringVar(&out, "token-file", "", "new `FILE` for the token, which only its owner can read (default: standard output)")
	return c
}

func (t *tool) printToken(name, text string, until time.Time, out string) error {
	result := struct {
		Name  string `json:"name"`
		Token string `json:"token,omitempty"`
		File  string `json:"file,omitempty"`
		Until string `json:"until"`
	}{name, text, out, until.UTC().Format(time.RFC3339)}
	if out != "" {
		f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("write the token: %w", err)
		}
		_, err = fmt.Fprintln(f, text)
		if closed := f.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return fmt.Errorf("write the token: %w", err)
		}
		result.Token = ""
	}
	return t.print(result, func(w io.Writer) {
		if out == "" {
			fmt.Fprintln(w, text)
		}
		fmt.Fprintf(t.err, "the token for %s may be used once, until %s\nNext, on the process server: failback pki enroll --master-target HOST:PORT --out DIR --token-file FILE\n", name, result.Until)
	})
}

func (t *tool) pkiEnrollCommand() *cobra.Command {
	var address, out, file string
	var allowPublic bool
	c := &cobra.Command{
		Use:   "enroll --master-target HOST:PORT --out DIR",
		Short: "Get a process server its certificate from its master target, by a token",
		Long: `Makes a key in --out, which never leaves it, and asks the master target at its replication port for a certificate, by the token that failback pki token made. The token is
sent only to the master target whose CA it names. Then --out holds what process-server --pki needs.

The token is read from --token-file, which only its owner may be able to read, or from standard input. If the connection breaks, do the same again: the token counts for the
key that is there.`,
		Example: "  failback pki enroll --master-target 10.1.0.4:9443 --out /etc/failback/pki --token-file ps2.token",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t.local = true
			return t.enroll(c.Context(), address, out, file, allowPublic)
		},
	}
	c.Flags().StringVar(&address, "master-target", "", "HOST:PORT where process servers dial")
	c.Flags().StringVar(&out, "out", "", "`DIR` for ca.crt, process-server.crt and process-server.key")
	c.Flags().StringVar(&file, "token-file", "-", "`FILE` with the token; - for standard input")
	c.Flags().BoolVar(&allowPublic, "allow-public", false, "dial a master target at a public address too")
	_ = c.MarkFlagRequired("master-target")
	_ = c.MarkFlagRequired("out")
	return c
}

func (t *tool) enroll(ctx context.Context, address, out, file string, allowPublic bool) error {
	text, err := t.readToken(file)
	if err != nil {
		return err
	}
	token, err := link.ParseToken(text)
	if err != nil {
		return err
	}
	e, err := pki.NewEnrolment(out, token.Pin)
	if err != nil {
		return err
	}
	cert, ca, err := transport.Enroll(ctx, address, token, e.CSR, allowPublic)
	if err != nil {
		return err
	}
	files, err := e.Finish(cert, ca)
	if err != nil {
		return err
	}
	return t.print(struct {
		Files []string `json:"files"`
	}{files}, func(w io.Writer) {
		fmt.Fprintf(w, "enrolled: made %s\nNext: process-server --pki %s\n", strings.Join(files, ", "), out)
	})
}

// maxToken bounds what is read of a token's file, in bytes.
const maxToken = 4096

func (t *tool) readToken(file string) (string, error) {
	in := t.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", &replication.Problem{Code: "token", Message: "the token can't be read", Err: err, Remedy: "name its file by --token-file"}
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil {
			return "", err
		}
		if err := pki.Private(file, fi); err != nil {
			return "", err
		}
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxToken))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	return string(b), nil
}

func (t *tool) rebindCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rebind NAME KEY",
		Short: "Let a process server with another key register by a name",
		Long: `A process server's name belongs to the key with which it first registered or enrolled. Another key is refused, and the refusal, in the logs of both sides, tells it. If it is
meant to take the place of the first one, as after a new certificate with a new key, this gives it the name. A process server with the old key is sent away.`,
		Example: "  failback rebind ps1 5f2a0c…",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return t.with(func(m *transport.OperatorClient) error {
				was, err := m.Rebind(c.Context(), args[0], args[1])
				if err != nil {
					return err
				}
				return t.print(struct {
					Name string `json:"name"`
					Key  string `json:"key"`
					Was  string `json:"was"`
				}{args[0], args[1], was}, func(w io.Writer) {
					fmt.Fprintf(w, "the name %s belongs to the key %s now\n", args[0], args[1])
				})
			})
		},
	}
}
