// Command kubectl is kubectl, of the module that it is published as: the tests that
// run the commands of the documentation need not find one on the machine.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

func main() { os.Exit(cli.Run(cmd.NewDefaultKubectlCommand())) }
