package settings

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/pflag"
)

// Log is how a program logs, as its flags say.
type Log struct {
	Format string // text or json
	Level  string // debug, info, warn or error
}

// AddLog adds the flags --log-format and --log-level.
func AddLog(flags *pflag.FlagSet) *Log {
	l := &Log{}
	flags.StringVar(&l.Format, "log-format", "text", "how log lines are written: text or json")
	flags.StringVar(&l.Level, "log-level", "info", "the least that is logged: debug, info, warn or error")
	return l
}

// Logger returns a logger that writes to w. The error is of wrong usage.
func (l *Log) Logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return nil, Usage(fmt.Errorf("--log-level %q is none of debug, info, warn, error", l.Level))
	}
	opts := &slog.HandlerOptions{Level: level}
	switch l.Format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, Usage(fmt.Errorf("--log-format %q is neither text nor json", l.Format))
}
