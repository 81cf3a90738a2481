package secret

import (
	"context"
	"fmt"

	"github.com/aetherplatform/aether/internal/secret"
)

// generate makes the first version in OpenBao. Of several that try at once one wins,
// and all of them read what it wrote.
func (r *Reconciler) generate(ctx context.Context, s *scope) error {
	data, err := secret.Generate(s.ss.Spec.Generate)
	if err != nil {
		return fmt.Errorf("cannot draw what spec.generate asks for: %w", err)
	}
	created, err := s.session.Create(ctx, s.ss.Spec.Path, data)
	if err != nil {
		return err
	}
	if created {
		r.recorder.Eventf(s.ss, nil, eventNormal, "Generated", "Generate", "%s was made in OpenBao", s.place())
	}
	return nil
}
