package main

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// plural is the resource of a kind of Contain Base, all of which are regular.
func plural(k schema.GroupVersionKind) schema.GroupVersionResource {
	name := strings.ToLower(k.Kind)
	if strings.HasSuffix(name, "y") {
		name = strings.TrimSuffix(name, "y") + "ie"
	}
	return k.GroupVersion().WithResource(name + "s")
}
