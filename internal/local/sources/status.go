package sources

import (
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
)

// reasonUnsupported is what a stalled GitRepository gives.
const reasonUnsupported = "UnsupportedByStandIn"

// fetchError is a fetch that failed, with Flux's reason for it.
type fetchError struct{ reason, message string }

func (e *fetchError) Error() string { return e.message }

// stalledError is a spec that nothing but a person can put right.
type stalledError struct{ message string }

func (e *stalledError) Error() string { return e.message }

// report turns the outcome into the conditions that source-controller sets.
func report(repo *sourcev1.GitRepository, artifact *meta.Artifact, outcome error) {
	if at, asked := meta.ReconcileAnnotationValue(repo.GetAnnotations()); asked {
		repo.Status.SetLastHandledReconcileRequest(at)
	}
	repo.Status.ObservedGeneration = repo.Generation
	for _, condition := range []string{meta.ReconcilingCondition, meta.StalledCondition, sourcev1.FetchFailedCondition, sourcev1.StorageOperationFailedCondition} {
		conditions.Delete(repo, condition)
	}

	fetch, stalled := (*fetchError)(nil), (*stalledError)(nil)
	switch {
	case outcome == nil:
		repo.Status.Artifact = artifact
		repo.Status.ObservedIgnore = repo.Spec.Ignore
		message := fmt.Sprintf("stored artifact for revision '%s'", artifact.Revision)
		conditions.MarkTrue(repo, sourcev1.ArtifactInStorageCondition, meta.SucceededReason, "%s", message)
		conditions.MarkTrue(repo, meta.ReadyCondition, meta.SucceededReason, "%s", message)
	case errors.As(outcome, &stalled):
		conditions.MarkTrue(repo, meta.StalledCondition, reasonUnsupported, "%s", stalled.message)
		conditions.MarkFalse(repo, meta.ReadyCondition, reasonUnsupported, "%s", stalled.message)
	case errors.As(outcome, &fetch):
		conditions.MarkTrue(repo, sourcev1.FetchFailedCondition, fetch.reason, "%s", fetch.message)
		conditions.MarkTrue(repo, meta.ReconcilingCondition, meta.ProgressingWithRetryReason, "%s", fetch.message)
		conditions.MarkFalse(repo, meta.ReadyCondition, fetch.reason, "%s", fetch.message)
	default:
		conditions.MarkTrue(repo, sourcev1.StorageOperationFailedCondition, sourcev1.ArchiveOperationFailedReason, "%s", outcome)
		conditions.MarkTrue(repo, meta.ReconcilingCondition, meta.ProgressingWithRetryReason, "%s", outcome)
		conditions.MarkFalse(repo, meta.ReadyCondition, sourcev1.ArchiveOperationFailedReason, "%s", outcome)
	}
}
