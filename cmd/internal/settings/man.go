package settings

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manCommand is what makes a daemon write its manual page.
const manCommand = "man"

// ManName returns the name of a command's manual page as a file: failback-pki-init.1.
func ManName(c *cobra.Command) string { return manTitle(c) + ".1" }

func manTitle(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// Man returns a command's manual page, for man(1): what --help says. Help texts are laid out by blank lines and by indentation, which roff keeps; cobra's own
// generator takes them for Markdown, which does not.
func Man(c *cobra.Command) []byte {
	c.InitDefaultHelpFlag()
	c.InitDefaultVersionFlag()
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH %q 1 \"\" %q \"failback\"\n.nh\n.ad l\n", strings.ToUpper(manTitle(c)), c.Root().Name()+" "+Version().Version)
	manSection(&b, "name", roff(manTitle(c)+" - "+c.Short))
	use := roff(c.UseLine())
	for _, alias := range c.Aliases {
		use += "\n.br\n" + roff(c.Parent().CommandPath()+" "+alias) + " is the same"
	}
	manSection(&b, "synopsis", use)
	long := c.Long
	if long == "" {
		long = c.Short + "."
	}
	manSection(&b, "description", roff(long))
	manSection(&b, "options", manFlags(c.NonInheritedFlags()))
	manSection(&b, "options of all commands", manFlags(c.InheritedFlags()))
	if c.Example != "" {
		manSection(&b, "examples", ".nf\n"+roff(c.Example)+"\n.fi")
	}
	manSection(&b, "exit status", fmt.Sprintf("%d: done. %d: refused, or failed. %d: wrong usage, nothing was tried.", ExitDone, ExitFailed, ExitUsage))
	var also []string
	if c.HasParent() {
		also = append(also, manReference(c.Parent()))
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			also = append(also, manReference(sub))
		}
	}
	manSection(&b, "see also", strings.Join(also, "\n"))
	return b.Bytes()
}

// manSection writes a section, if there is anything in it.
func manSection(b *bytes.Buffer, name, text string) {
	if text != "" {
		fmt.Fprintf(b, ".SH %s\n%s\n", strings.ToUpper(name), text)
	}
}

func manReference(c *cobra.Command) string {
	return fmt.Sprintf(".TP\n.BR %s (1)\n%s", roff(manTitle(c)), roff(c.Short))
}

func manFlags(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		what, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		fmt.Fprintf(&b, ".TP\n\\fB%s\\fR", roff(name))
		if what != "" {
			fmt.Fprintf(&b, " \\fI%s\\fR", roff(what))
		}
		fmt.Fprintf(&b, "\n%s", roff(usage))
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" && f.DefValue != "0s" {
			fmt.Fprintf(&b, " (default %s)", roff(f.DefValue))
		}
		b.WriteByte('\n')
	})
	return strings.TrimSuffix(b.String(), "\n")
}

// roff returns a text with all that roff would take for its own made plain.
func roff(text string) string {
	lines := strings.Split(strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
