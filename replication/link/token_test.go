package link

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestTokenTextAndNothingElseTellsTheSecret(t *testing.T) {
	token := Token{ID: "0011223344556677", Secret: [16]byte{0xde, 0xad, 0xbe, 0xef, 15: 9}, Pin: [32]byte{1, 31: 2}}
	got, err := ParseToken("  " + token.Text() + "\n")
	if err != nil || got != token {
		t.Fatalf("got %v, %v", got.Text(), err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", token, "pointer", &token)
	for _, s := range []string{fmt.Sprint(token), fmt.Sprintf("%v %+v %#v %x %s %q %d", token, token, token, token, token, token, token), fmt.Sprint(&token), fmt.Sprint([]Token{token}), log.String()} {
		if strings.Contains(s, "deadbeef") || strings.Contains(s, "222 173") || strings.Contains(s, "0xde") {
			t.Errorf("the secret is in %s", s)
		}
	}
	for _, text := range []string{"", "x", token.Text()[1:], token.Text() + "0", token.Text() + ".1", strings.Replace(token.Text(), "dead", "zzzz", 1), strings.Replace(token.Text(), "0011", "00", 1)} {
		if _, err := ParseToken(text); err == nil || strings.Contains(err.Error(), "beef") {
			t.Errorf("%q: got %v", text, err)
		}
	}
}
