package settings

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"failback/replication"
	"failback/replication/plan/strictyaml"
)

// ConfigFlag is the name of the flag that names the file. It, and what only prints, are no keys of the file.
const ConfigFlag = "config"

var notKeys = []string{ConfigFlag, "help", "version"}

// maxConfig bounds the file, in bytes.
const maxConfig = 1 << 20

// AddConfig adds the flag --config.
func AddConfig(flags *pflag.FlagSet) {
	flags.String(ConfigFlag, "", "YAML `FILE` with settings: each flag is a key, without the dashes; flags win over the file")
}

// Load gives each flag that was not given on the command line the value that the file at path has for it, as if it had been given. A key that is neither a
// flag nor among elsewhere is refused, as is a value that the flag does not take: all at once, with lines. Elsewhere names keys that are right, but for another
// command. No path is no file.
func Load(flags *pflag.FlagSet, path string, elsewhere ...string) error {
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err == nil && len(text) > maxConfig {
		err = fmt.Errorf("it has %d bytes; at most %d are read", len(text), maxConfig)
	}
	if err != nil {
		return configProblem(path, err)
	}
	doc, root, err := strictyaml.Parse(text)
	if err != nil {
		return configProblem(path, err)
	}
	known := slices.Clone(elsewhere)
	flags.VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(notKeys, f.Name) {
			known = append(known, f.Name)
		}
	})
	slices.Sort(known)
	for key, value := range root.Mapping(slices.Compact(known)...) {
		f := flags.Lookup(key)
		if f == nil || f.Changed || !value.Present() {
			continue
		}
		if err := set(flags, f, value); err != nil {
			value.Fail("%v", err)
		}
	}
	var all []error
	for _, e := range doc.Err() {
		all = append(all, e)
	}
	if len(all) > 0 {
		return configProblem(path, errors.Join(all...))
	}
	return nil
}

func set(flags *pflag.FlagSet, f *pflag.Flag, value strictyaml.Node) error {
	if _, list := f.Value.(pflag.SliceValue); list && value.IsSequence() {
		for _, item := range value.Sequence() {
			if err := flags.Set(f.Name, item.Text()); err != nil {
				return err
			}
		}
		return nil
	}
	return flags.Set(f.Name, value.Text())
}

func configProblem(path string, err error) error {
	return Usage(&replication.Problem{
		Code:    "config",
		Message: fmt.Sprintf("the settings in %s can't be used: %s", path, strings.ReplaceAll(err.Error(), "\n", "; ")),
		Remedy:  "mend the file; its keys are the flags that --help lists, without the dashes",
	})
}
