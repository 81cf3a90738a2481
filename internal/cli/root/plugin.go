package root

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"

	"github.com/aetherplatform/aether/internal/cli"
)

// Names that kubectl looks for on the PATH: the plugin `kubectl aether`, and what
// completes its command line.
const (
	plugin          = "kubectl-aether"
	pluginCompleter = "kubectl_complete-aether"
)

// Main runs the program as it was called: args are those of the process, the program's
// name first.
func Main(ctx context.Context, env *cli.Env, args []string) int {
	name, args := strings.TrimSuffix(filepath.Base(args[0]), ".exe"), args[1:]
	switch name {
	case plugin, pluginCompleter:
		env.Program = "kubectl aether"
	}
	if name == pluginCompleter {
		args = append([]string{cobra.ShellCompRequestCmd}, args...)
	}
	klog.SetLogger(logr.Discard()) // what client-go logs of a request, it returns as well
	return Execute(ctx, env, args)
}

// speak makes help speak of the program as it was called.
func speak(env *cli.Env, root *cobra.Command) {
	var names []string
	for _, c := range root.Commands() {
		names = append(names, c.Name())
	}
	env.SpeakOf(append(names, "help", "completion"))
	if env.Program == "" {
		return
	}
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: env.Program}
	each(root, func(c *cobra.Command) {
		c.Short, c.Long, c.Example = env.Speak(c.Short), env.Speak(c.Long), env.Speak(c.Example)
		c.Flags().VisitAll(func(f *pflag.Flag) { f.Usage = env.Speak(f.Usage) })
	})
}

// each visits a command and all below it.
func each(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, below := range c.Commands() {
		each(below, visit)
	}
}
