package cli

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Await lists, then watches, until done says so of all that is there. Done gets
// the objects as they are now, and is called after every change.
func Await(ctx context.Context, c client.WithWatch, list client.ObjectList, done func([]client.Object) bool, opts ...client.ListOption) error {
	for {
		finished, err := awaitOnce(ctx, c, list, done, opts)
		if finished || err != nil {
			return err
		}
	}
}

// awaitOnce returns false when the server ends the watch, as it does from time to
// time.
func awaitOnce(ctx context.Context, c client.WithWatch, list client.ObjectList, done func([]client.Object) bool, opts []client.ListOption) (bool, error) {
	if err := c.List(ctx, list, opts...); err != nil {
		return false, err
	}
	now := map[client.ObjectKey]client.Object{}
	if err := meta.EachListItem(list, func(item runtime.Object) error {
		obj, ok := item.(client.Object)
		if !ok {
			return errors.New("the cluster answered with something that is not an object")
		}
		now[client.ObjectKeyFromObject(obj)] = obj
		return nil
	}); err != nil {
		return false, err
	}
	if done(values(now)) {
		return true, nil
	}

	from := &client.ListOptions{Raw: nil}
	from.ApplyOptions(opts)
	from.Raw = from.AsListOptions()
	from.Raw.ResourceVersion = list.GetResourceVersion()
	w, err := c.Watch(ctx, list, from)
	if err != nil {
		return false, err
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case event, open := <-w.ResultChan():
			obj, ok := event.Object.(client.Object)
			if !open || !ok {
				return false, ctx.Err()
			}
			if event.Type == watch.Deleted {
				delete(now, client.ObjectKeyFromObject(obj))
			} else {
				now[client.ObjectKeyFromObject(obj)] = obj
			}
			if done(values(now)) {
				return true, nil
			}
		}
	}
}

func values(objects map[client.ObjectKey]client.Object) []client.Object {
	all := make([]client.Object, 0, len(objects))
	for _, obj := range objects {
		all = append(all, obj)
	}
	return all
}
