"""The contract, rule by rule: what ``didact plugin check``, third parties' tests and our own hold parts against."""

from __future__ import annotations

from didact.testing import (
    backbones,
    encoders,
    evaluations,
    learning,
    maskers,
    media,
    objectives,
    observers,
    processes,
    sources,
    specs,
    targets,
    teachers,
)
from didact.testing.rules import Rule

MASKER = ("masker",)
ENCODER = ("feature-encoder",)
BACKBONE = ("backbone",)
TARGETS = ("target-builder",)
TEACHER = ("teacher",)
OBJECTIVE = ("objective",)
SOURCE = ("source",)
EVALUATION = ("evaluation",)
OBSERVER = ("observer",)
MEDIUM = ("medium",)
COMMAND = ("command",)
WEIGHTS = ENCODER + BACKBONE + TARGETS + TEACHER + OBJECTIVE
SPECS = WEIGHTS + MASKER + SOURCE + EVALUATION + OBSERVER + ("part",)

RULES: tuple[Rule, ...] = (
    # ── every spec ────────────────────────────────────────────────────────────────────────────────────────────────────
    Rule(
        name="frozen",
        kinds=SPECS,
        promise="a spec is frozen and takes its fields by name",
        mend="decorate the class with @attrs.frozen(kw_only=True), with defaults that cannot change",
        look=specs.check_frozen,
    ),
    Rule(
        name="documentation",
        kinds=SPECS,
        promise="every field is documented",
        mend="say under `Attributes:` of the docstring what each field is; a user who gets it wrong is shown that text",
        look=specs.check_documentation,
    ),
    Rule(
        name="data",
        kinds=SPECS,
        promise="a spec becomes plain data, and the data an equal spec",
        mend="let fields be numbers, words, paths, tuples, mappings and other specs; no functions, no tensors",
        look=specs.check_data,
    ),
    Rule(
        name="fingerprint",
        kinds=SPECS,
        promise="every field changes the fingerprint",
        mend="convert no two values of a field into one, and leave no field out of comparison (eq=False)",
        look=specs.check_fingerprint,
    ),
    Rule(
        name="pickling",
        kinds=SPECS,
        promise="a spec crosses to a loader's worker",
        mend="define the class at the top of a module, and open nothing before `open` or `build`",
        look=specs.check_pickling,
    ),
    Rule(
        name="examination",
        kinds=SPECS,
        promise="what a spec thinks of a run are findings with a mend, the same whenever it is asked",
        mend="yield Finding.fine, .warning or .error, with `where` one of the spec's fields",
        look=specs.check_examination,
    ),
    # ── shapes ────────────────────────────────────────────────────────────────────────────────────────────────────────
    Rule(
        name="shapes",
        kinds=MASKER,
        promise="masks are (M, T): predicted bool, corruption uint8, on the CPU, as many for every sample",
        mend="make them with Mask.hide or Mask.drop of a bool tensor (M, layout.positions)",
        look=maskers.check_shapes,
    ),
    Rule(
        name="shapes",
        kinds=ENCODER,
        promise="embed gives the positions that layout promised, and place keeps them",
        mend="let layout follow from the sample's size as embed does, and hand on layout, padding and extra",
        look=encoders.check_layout,
    ),
    Rule(
        name="rows",
        kinds=ENCODER,
        promise="place gives row b·M + m for sample b behind its mask m",
        mend="use didact.corrupt, didact.repeat and didact.drop, which repeat and gather in this order",
        look=encoders.check_rows,
    ),
    Rule(
        name="shapes",
        kinds=BACKBONE,
        promise="the output is (R, V, D) with the module's width, finite",
        mend="return Context(output=…, tokens=tokens), with one vector for each that came",
        look=backbones.check_shapes,
    ),
    Rule(
        name="features",
        kinds=BACKBONE,
        promise="collected features come as asked for, from lower to upper, counted from the top",
        mend="collect in blocks whose index is at least len(blocks) - collect.last, and give none without collect",
        look=backbones.check_features,
    ),
    Rule(
        name="widths",
        kinds=BACKBONE,
        promise="another width is taken, or refused by a SpecError that names it and its mend",
        mend="compare the encoder's width in build, and raise SpecError(…, mend=…)",
        look=backbones.check_widths,
    ),
    Rule(
        name="shapes",
        kinds=TARGETS,
        promise="targets are (B, T, D) or (B, D) of the module's width, or int64 ids below it",
        mend="set width to the last axis of the values, or to the number of classes",
        look=targets.check_shapes,
    ),
    Rule(
        name="shapes",
        kinds=TEACHER,
        promise="a teacher sees each sample once and whole, and its subject sees what it sees",
        mend="contextualise the view's tokens with mask=None, in the network that `subject` gives",
        look=teachers.check_view,
    ),
    Rule(
        name="shapes",
        kinds=OBJECTIVE,
        promise="each term is a scalar sum over what `counts` counts on the host",
        mend="give forward's terms and counts the same names, and sum where you would average",
        look=objectives.check_terms,
    ),
    Rule(
        name="shapes",
        kinds=SOURCE,
        promise="views and contents are what the signal says",
        mend="let signal().axes be the content's shape, with None where sizes differ",
        look=sources.check_shapes,
    ),
    Rule(
        name="samples",
        kinds=SOURCE,
        promise="there are samples with float64 lengths, names, a fingerprint, and classes for their labels",
        mend="set lengths, labels, classes and fingerprint in open; see didact.Samples",
        look=sources.check_samples,
    ),
    Rule(
        name="features",
        kinds=SOURCE,
        promise="raw features are (F,) and finite, pictures (H, W, 3) uint8",
        mend="flatten what raw_features gives; scale a picture to 0…255",
        look=sources.check_features,
    ),
    Rule(
        name="report",
        kinds=EVALUATION,
        promise="there is a verdict of numbers and (H, W, 3) uint8 pictures",
        mend="return Report(metrics={name: float(value)}, images=…)",
        look=evaluations.check_report,
    ),
    Rule(
        name="hooks",
        kinds=OBSERVER,
        promise="it listens to something, and only to what there is",
        mend="decorate methods named as in didact.hookspecs.Lifecycle, with arguments named as there, with @hookimpl",
        look=observers.check_hooks,
    ),
    Rule(
        name="reading",
        kinds=MEDIUM,
        promise="the same bytes give the same records, with a length and a name",
        mend="keep the media's own bytes, and name each record after its file",
        look=media.check_reading,
    ),
    Rule(
        name="refusing",
        kinds=MEDIUM,
        promise="a file that cannot be read is refused with a DataError",
        mend="catch what the decoder raises, and raise DataError with the reason",
        look=media.check_refusing,
    ),
    Rule(
        name="help",
        kinds=COMMAND,
        promise="a command and its options say what they do",
        mend="give the command a docstring, and every option a help=",
        look=media.check_help,
    ),
    # ── nothing leaks ─────────────────────────────────────────────────────────────────────────────────────────────────
    Rule(
        name="padding",
        kinds=ENCODER,
        promise="padding never changes a result",
        mend="let no position look beyond its sample: mask padding before anything that mixes positions",
        look=encoders.check_padding,
    ),
    Rule(
        name="padding",
        kinds=BACKBONE,
        promise="neither padding nor the rows beside it change a row",
        mend="mask tokens.padding wherever positions mix, and normalise no row by another",
        look=backbones.check_padding,
    ),
    Rule(
        name="padding",
        kinds=TARGETS,
        promise="a sample's targets do not depend on the padding behind it",
        mend="leave padding out of every mean and norm over positions; it is in pass.view.padding",
        look=targets.check_padding,
    ),
    Rule(
        name="leak",
        kinds=ENCODER,
        promise="masked content never leaks into what the student sees",
        mend="hide and drop in place before position codes or anything else that mixes positions",
        look=encoders.check_leak,
    ),
    Rule(
        name="leak",
        kinds=TARGETS,
        promise="targets do not depend on what the student sees",
        mend="make them of pass.view and pass.tokens, or of a teacher; never of pass.context, unless sees_mask=True",
        look=targets.check_mask,
    ),
    Rule(
        name="leak",
        kinds=OBJECTIVE,
        promise="predictions are made of what the student saw",
        mend="predict from pass.context alone: pass.tokens and pass.view hold what was masked",
        look=objectives.check_leak,
    ),
    Rule(
        name="prediction",
        kinds=MASKER,
        promise="every mask predicts something, leaves something, and hides nothing that is not predicted",
        mend="raise a SpecError for a layout too short for the settings",
        look=maskers.check_prediction,
    ),
    # ── randomness ────────────────────────────────────────────────────────────────────────────────────────────────────
    Rule(
        name="determinism",
        kinds=MASKER,
        promise="the same generator gives the same masks, and nothing else is drawn from",
        mend="draw with generator=generator, never from torch's, numpy's or Python's global state",
        look=maskers.check_determinism,
    ),
    Rule(
        name="difference",
        kinds=MASKER,
        promise="other generators give other masks",
        mend="draw from the generator; if one mask for all is meant, let the example say draws=False",
        look=maskers.check_difference,
    ),
    Rule(
        name="equalization",
        kinds=MASKER,
        promise="equalize gives as many masks as it got, and follows from its generator",
        mend="draw with generator=generator; keep what predicts something and leaves something",
        look=maskers.check_equalization,
    ),
    Rule(
        name="determinism",
        kinds=SOURCE,
        promise="the same generator gives the same views, and contents do not change",
        mend="draw with generator=generator; let `content` draw nothing",
        look=sources.check_determinism,
    ),
    Rule(
        name="determinism",
        kinds=WEIGHTS,
        promise="one seed gives one initialisation and one loss, and evaluation draws nothing",
        mend="draw weights and dropout from torch's global generator, which the run seeds, and nothing in evaluation",
        look=learning.check_determinism,
    ),
    Rule(
        name="difference",
        kinds=ENCODER + BACKBONE + OBJECTIVE,
        promise="another seed gives another initialisation",
        mend="seed nothing: the run seeds torch's global generator before it builds each part",
        look=learning.check_difference,
    ),
    Rule(
        name="determinism",
        kinds=EVALUATION,
        promise="the same network gets the same verdict",
        mend="draw from a generator of the evaluation's own, keyed by didact.randomness.generator",
        look=evaluations.check_determinism,
    ),
    Rule(
        name="untouched",
        kinds=EVALUATION,
        promise="the networks and the global random state are as they were",
        mend="train probes on copies or features; draw from a generator of the evaluation's own",
        look=evaluations.check_untouched,
    ),
    Rule(
        name="untouched",
        kinds=OBSERVER,
        promise="a run with it is the run without it, and it fails in none of its hooks",
        mend="only look: change nothing that the hooks hand over, draw from no global generator",
        look=observers.check_run,
    ),
    # ── learning ──────────────────────────────────────────────────────────────────────────────────────────────────────
    Rule(
        name="gradients",
        kinds=ENCODER,
        promise="the gradient reaches every weight",
        mend="use every parameter, detach nothing; register no parameter that another setting would need",
        look=encoders.check_gradients,
    ),
    Rule(
        name="gradients",
        kinds=BACKBONE,
        promise="the gradient reaches every weight and the encoder's vectors",
        mend="use every parameter, detach nothing",
        look=backbones.check_gradients,
    ),
    Rule(
        name="gradients",
        kinds=TARGETS,
        promise="no gradient flows through targets, unless the method wants it",
        mend="detach them, or make them under torch.no_grad(); if it is wanted, let the example say learns=True",
        look=targets.check_gradients,
    ),
    Rule(
        name="gradients",
        kinds=TEACHER,
        promise="a teacher is in evaluation mode, has weights of its own, and gives nothing a gradient",
        mend="deepcopy the student, requires_grad_(False), override train() to stay in evaluation, use torch.no_grad()",
        look=teachers.check_gradients,
    ),
    Rule(
        name="gradients",
        kinds=OBJECTIVE,
        promise="the gradient reaches the heads and the student, and nothing else",
        mend="use every parameter; detach neither contexts nor predictions in the terms",
        look=objectives.check_gradients,
    ),
    Rule(
        name="steps",
        kinds=TARGETS,
        promise="state moves in after_step, once per optimizer step, never in forward",
        mend="add up in buffers with persistent=False, and move what is kept in after_step",
        look=targets.check_steps,
    ),
    Rule(
        name="steps",
        kinds=TEACHER,
        promise="a teacher stands still until after_step",
        mend="hold a copy of the student, not a reference, and move it in after_step alone",
        look=teachers.check_steps,
    ),
    Rule(
        name="split",
        kinds=OBJECTIVE,
        promise="losses and gradients of a batch's parts add up to those of the whole",
        mend="sum over what counts counts and average nothing; or let the spec's divisible be False",
        look=objectives.check_split,
    ),
    # ── where it runs ─────────────────────────────────────────────────────────────────────────────────────────────────
    Rule(
        name="checkpoint",
        kinds=WEIGHTS,
        promise="a run goes on from its checkpoint as if nothing had happened",
        mend="keep all state in parameters and persistent buffers; let what depends on time follow from the step",
        look=learning.check_checkpoint,
    ),
    Rule(
        name="device",
        kinds=WEIGHTS,
        promise="a part computes where its weights and its input are",
        mend="make new tensors with device=input.device, and register constants as buffers",
        look=learning.check_device,
    ),
    Rule(
        name="cost",
        kinds=WEIGHTS,
        promise="the cost grows no faster than the batch",
        mend="compare no sample with every other; loop over samples without touching the whole batch",
        look=learning.check_cost,
    ),
    Rule(
        name="compilation",
        kinds=BACKBONE,
        promise="torch.compile of its blocks changes no result",
        mend="keep Python's values that change from call to call out of forward, and branch on no tensor's values",
        look=learning.check_compilation,
        dear=True,
    ),
    Rule(
        name="processes",
        kinds=WEIGHTS,
        promise="two processes that share a batch learn what one learns",
        mend="count with `counts`, and gather with gradient where a loss is a function of the whole batch",
        look=learning.check_processes,
        dear=True,
    ),
    Rule(
        name="processes",
        kinds=MASKER + SOURCE,
        promise="another process draws what this one draws",
        mend="let nothing depend on the process: no hash() of a str, no id(), no state at module level",
        look=processes.check_draws,
        dear=True,
    ),
)
