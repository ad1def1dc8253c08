"""A compiled program as text, and the work of made-up ones."""

from jaxmusic.aot.work import Collective, Timed, Work

# A loop over steps, of which nobody knows the number; in it one of 7 rounds, a kernel, and sums.
PROGRAM = """\
HloModule small, is_scheduled=true

%cut (p0: f32[7,4,8], p1: s32[]) -> f32[4,8] {
  %p0 = f32[7,4,8]{2,1,0:T(8,128)} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %piece = f32[4,8]{1,0} dynamic-slice(%p0, %p1, %zero, %zero), dynamic_slice_sizes={1,4,8}
}

%round (state: (s32[], f32[4,8], f32[7,4,8])) -> (s32[], f32[4,8], f32[7,4,8]) {
  %state = (s32[], f32[4,8]{1,0:T(8,128)S(1)}, f32[7,4,8]{2,1,0:T(8,128)}) parameter(0)
  %one = s32[] constant(1)
  %i = s32[] get-tuple-element(%state), index=0
  %h = f32[4,8]{1,0:T(8,128)S(1)} get-tuple-element(%state), index=1
  %all = f32[7,4,8]{2,1,0:T(8,128)} get-tuple-element(%state), index=2
  %x = f32[4,8]{1,0:T(8,128)S(1)} fusion(%all, %i), kind=kLoop, calls=%cut, backend_config={"estimated_cycles":"50"}
  %w = f32[8,8]{1,0:T(8,128)S(1)} constant({...})
  %z = f32[4,8]{1,0:T(8,128)S(1)} convolution(%x, %w), dim_labels=bf_io->bf, operand_precision={highest,highest}
  %next = s32[] add(%i, %one)
  ROOT %after = (s32[], f32[4,8]{1,0:T(8,128)S(1)}, /*index=2*/f32[7,4,8]{2,1,0:T(8,128)}) tuple(%next, %z, %all)
}

%round_limit (state: (s32[], f32[4,8], f32[7,4,8])) -> pred[] {
  %limit = s32[]{:T(128)} constant(7)
  %state.1 = (s32[], f32[4,8]{1,0}, f32[7,4,8]{2,1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%state.1), index=0
  ROOT %less = pred[] compare(%i.1, %limit), direction=LT
}

%step (s: (s32[], s32[], f32[4,8], f32[7,4,8])) -> (s32[], s32[], f32[4,8], f32[7,4,8]) {
  %s = (s32[], s32[], f32[4,8]{1,0:S(1)}, f32[7,4,8]{2,1,0}) parameter(0)
  %number = s32[] get-tuple-element(%s), index=0
  %count = s32[] get-tuple-element(%s), index=1
  %h.1 = f32[4,8]{1,0:S(1)} get-tuple-element(%s), index=2
  %data = f32[7,4,8]{2,1,0} get-tuple-element(%s), index=3
  %start = s32[] constant(0)
  %before = (s32[], f32[4,8]{1,0:S(1)}, f32[7,4,8]{2,1,0}) tuple(%start, %h.1, %data)
  %loop = (s32[], f32[4,8]{1,0:S(1)}, f32[7,4,8]{2,1,0}) while(%before), condition=%round_limit, body=%round
  %h.2 = f32[4,8]{1,0:S(1)} get-tuple-element(%loop), index=1
  %k = f32[4,8]{1,0} custom-call(%h.2), custom_call_target="tpu_custom_call", backend_config={"custom_call_config":{"body":"T(","cost_estimate":{"flops":"1000","bytes_accessed":"256"}}}
  %sum = (f32[4,8]{1,0}, f32[]) all-reduce(%k, %start), replica_groups={{0,1}}, to_apply=%add
  %h.3 = f32[4,8]{1,0} get-tuple-element(%sum), index=0
  ROOT %done = (s32[], s32[], f32[4,8]{1,0}, f32[7,4,8]{2,1,0}) tuple(%number, %count, %h.3, %data)
}

%step_limit (s: (s32[], s32[], f32[4,8], f32[7,4,8])) -> pred[] {
  %s.1 = (s32[], s32[], f32[4,8]{1,0}, f32[7,4,8]{2,1,0}) parameter(0)
  %number.1 = s32[] get-tuple-element(%s.1), index=0
  %count.1 = s32[] get-tuple-element(%s.1), index=1
  ROOT %more = pred[] compare(%number.1, %count.1), direction=LT
}

ENTRY %main (count: s32[], data: f32[7,4,8]) -> f32[4,8] {
  %count.2 = s32[] parameter(0)
  %data.1 = f32[7,4,8]{2,1,0} parameter(1)
  %first = s32[] constant(0)
  %h.0 = f32[4,8]{1,0} constant({...})
  %gathered = f32[4,8]{1,0} all-gather(%h.0), dimensions={0}
  %start.1 = (s32[], s32[], f32[4,8]{1,0}, f32[7,4,8]{2,1,0}) tuple(%first, %count.2, %gathered, %data.1)
  %steps = (s32[], s32[], f32[4,8]{1,0}, f32[7,4,8]{2,1,0}) while(%start.1), condition=%step_limit, body=%step
  ROOT %result = f32[4,8]{1,0} get-tuple-element(%steps), index=2
}
"""  # noqa: E501


def work(*timed: Timed, collectives: tuple[Collective, ...] = (), kernels: int = 0) -> Work:
    return Work(timed, collectives, rounds=100, kernels=kernels)
