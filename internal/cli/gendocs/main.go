// Command gendocs writes the reference of aether's commands, a page each, from
// the commands themselves: docs/reference/cli.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/cli/root"
)

// dir holds the pages and nothing else.
var dir = filepath.Join("docs", "reference", "cli")

func main() {
	if err := generate(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// generate writes the pages anew, so that those of commands that are gone go too.
func generate() error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // documentation, for everyone to read
		return err
	}
	cmd := root.NewCommand(&cli.Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	cmd.InitDefaultHelpCmd()
	cmd.InitDefaultCompletionCmd()
	return walk(cmd, func(c *cobra.Command) error {
		return os.WriteFile(filepath.Join(dir, fileOf(c)), page(c), 0o644) //nolint:gosec // likewise
	})
}

func walk(cmd *cobra.Command, visit func(*cobra.Command) error) error {
	if err := visit(cmd); err != nil {
		return err
	}
	for _, c := range cmd.Commands() {
		if skip(c) {
			continue
		}
		if err := walk(c, visit); err != nil {
			return err
		}
	}
	return nil
}

// skip leaves out what cobra adds and explains itself.
func skip(c *cobra.Command) bool {
	return !c.IsAvailableCommand() || c.Name() == "help" || c.HasParent() && c.Parent().Name() == "completion"
}

func fileOf(c *cobra.Command) string {
	if !c.HasParent() {
		return "README.md"
	}
	return strings.ReplaceAll(c.CommandPath(), " ", "_") + ".md"
}

func page(c *cobra.Command) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!-- Generated from the command by `make generate`. -->\n\n# %s\n\n%s.\n\n", c.CommandPath(), c.Short)
	if c.Runnable() && c.HasParent() {
		fmt.Fprintf(&b, "```\n%s\n```\n\n", c.UseLine())
	}
	b.WriteString(long(c))
	if c.HasExample() {
		fmt.Fprintf(&b, "\n## Examples\n\n```sh\n%s\n```\n", unindent(c.Example))
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprint(&b, "\n## Commands\n\n| command | what it does |\n| --- | --- |\n")
		for _, sub := range c.Commands() {
			if !skip(sub) {
				fmt.Fprintf(&b, "| [%s](%s) | %s |\n", sub.CommandPath(), fileOf(sub), sub.Short)
			}
		}
	}
	c.InitDefaultHelpFlag()
	if flags := c.NonInheritedFlags(); flags.HasAvailableFlags() {
		fmt.Fprintf(&b, "\n## Flags\n\n```\n%s```\n", flags.FlagUsages())
	}
	if c.HasParent() {
		fmt.Fprintf(&b, "\nSee also [%s](%s), with the exit codes of all commands.\n", c.Root().CommandPath(), fileOf(c.Root()))
	}
	return b.Bytes()
}

// long is the command's text as Markdown: lists stay lists, and what else is
// indented, such as the exit codes, is shown as it is.
func long(c *cobra.Command) string {
	var paragraphs []string
	for paragraph := range strings.SplitSeq(strings.TrimSpace(c.Long), "\n\n") {
		head, rest, _ := strings.Cut(paragraph, "\n")
		switch {
		case strings.HasPrefix(head, "  - "):
			paragraph = unindent(paragraph)
		case strings.HasPrefix(rest, "  "):
			paragraph = head + "\n\n```\n" + unindent(rest) + "\n```"
		}
		paragraphs = append(paragraphs, paragraph)
	}
	return strings.Join(paragraphs, "\n\n") + "\n"
}

func unindent(s string) string { return strings.ReplaceAll(strings.TrimPrefix(s, "  "), "\n  ", "\n") }
