package cli

import (
	"fmt"

	"github.com/aetherplatform/aether/internal/cache"
	"github.com/aetherplatform/aether/internal/fleet"
)

// Store is the user's cache. Without one, which is said, everything is worked out
// anew.
func (e *Env) Store() fleet.Store {
	store, err := cache.Open()
	if err != nil {
		fmt.Fprintf(e.Err, "warning: nothing is cached: %v\n", err)
		return nil
	}
	return store
}
