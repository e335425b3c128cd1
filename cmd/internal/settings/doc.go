// Package settings is what all our programs have in common at their edge: every flag is also a key of the YAML file that --config names, a flag on the
// command line wins over the file, a key that is no flag is refused; logs by --log-format and --log-level; exit code 0 for done, 1 for refused or failed,
// 2 for wrong usage; an error is printed with what to do about it.
//
// A daemon's main is one call of Daemon.Main.
package settings
