package link

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"

	"failback/replication"
)

// Token lets one process server enrol, once. It is a secret, and prints as its id only.
type Token struct {
	ID     string   // names it; no secret
	Secret [16]byte // proves it
	Pin    [32]byte // SHA-256 of the CA's certificate: by it the process server knows its master target
}

const tokenPrefix = "fbt1"

// Text is what an operator carries to the process server.
func (t Token) Text() string {
	return fmt.Sprintf("%s.%s.%x.%x", tokenPrefix, t.ID, t.Secret[:], t.Pin[:])
}

// Format implements fmt.Formatter: whatever prints a token does not print its secret.
func (t Token) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "token %s", t.ID) }

// LogValue implements slog.LogValuer.
func (t Token) LogValue() slog.Value { return slog.StringValue("token " + t.ID) }

// ParseToken reads a token's text. Its error does not repeat the text.
func ParseToken(text string) (t Token, err error) {
	bad := &replication.Problem{Code: "token", Message: "that is not a token of failback", Remedy: "give the whole text that failback pki token printed, in a file or on standard input"}
	parts := strings.Split(strings.TrimSpace(text), ".")
	if len(parts) != 4 || parts[0] != tokenPrefix || len(parts[1]) != 16 {
		return t, bad
	}
	id, err1 := hex.DecodeString(parts[1])
	secret, err2 := hex.DecodeString(parts[2])
	pin, err3 := hex.DecodeString(parts[3])
	if err1 != nil || err2 != nil || err3 != nil || len(secret) != len(t.Secret) || len(pin) != len(t.Pin) {
		return t, bad
	}
	return Token{ID: hex.EncodeToString(id), Secret: [16]byte(secret), Pin: [32]byte(pin)}, nil
}
