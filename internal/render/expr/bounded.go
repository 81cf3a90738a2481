package expr

import (
	"errors"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/ext"
	"github.com/google/cel-go/interpreter"
)

// NewBoundedEnv declares variables for expressions whose authors are not trusted to
// keep them small. CEL counts what a call costs after it was made, and one call can
// take all memory: so there are no loops, whose results would be used again, and what
// makes long texts of short ones is refused beforehand where it is longer than most
// bytes.
func NewBoundedEnv(most int, variables []Field) (*Env, error) {
	return newEnv(most, nil, variables, []cel.EnvOption{
		cel.ClearMacros(), cel.Macros(cel.HasMacro), ext.Strings(), ext.Encoders(),
	})
}

// bounded has calls that could make more than most bytes of little ask first. They are
// known by the names of their functions: which overload it is may be found only when
// values are there.
func bounded(most int) interpreter.InterpretableDecoratorV2 {
	return func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
		call, ok := i.(interpreter.InterpretableCall)
		if !ok {
			return i, nil
		}
		do := map[string]func(int, []ref.Val) ref.Val{"replace": replaceWithin, "join": joinWithin}[call.Function()]
		switch {
		case call.Function() == "format":
			return nil, errors.New("format is not there; write the parts beside each other")
		case do != nil:
			bound := func(args ...ref.Val) ref.Val { return do(most, args) }
			return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), bound), nil
		}
		return i, nil
	}
}

func replaceWithin(most int, args []ref.Val) ref.Val {
	texts := make([]string, 3)
	for i := range texts {
		text, ok := args[i].(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(args[i])
		}
		texts[i] = string(text)
	}
	text, from, to := texts[0], texts[1], texts[2]
	n := strings.Count(text, from)
	if len(args) > 3 {
		limit, ok := args[3].(types.Int)
		if !ok {
			return types.MaybeNoSuchOverloadErr(args[3])
		}
		if limit >= 0 {
			n = min(n, int(limit))
		}
	}
	if len(text)+n*(len(to)-len(from)) > most {
		return tooLong("replace", most)
	}
	return types.String(strings.Replace(text, from, to, n))
}

func joinWithin(most int, args []ref.Val) ref.Val {
	list, ok := args[0].(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	var separator types.String
	if len(args) > 1 {
		if separator, ok = args[1].(types.String); !ok {
			return types.MaybeNoSuchOverloadErr(args[1])
		}
	}
	var joined strings.Builder
	for it, first := list.Iterator(), true; it.HasNext() == types.True; first = false {
		part, ok := it.Next().(types.String)
		if !ok {
			return types.NewErr("join: not all of the list are strings")
		}
		if joined.Len()+len(separator)+len(part) > most {
			return tooLong("join", most)
		}
		if !first {
			joined.WriteString(string(separator))
		}
		joined.WriteString(string(part))
	}
	return types.String(joined.String())
}

func tooLong(function string, most int) ref.Val {
	return types.NewErr("%s: the result is longer than %d bytes", function, most)
}
