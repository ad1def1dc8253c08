// One LSTM layer over time on CPUs, forward and backward: the functions that ../kernel.py calls
// through XLA's foreign function interface. kernel.py describes the arrays, cell.py has the
// formulas.
//
// A thread takes some rows of the batch through all steps, so that threads never wait for each
// other in the loop. At each step, for one panel of hidden units after another, the products of
// the four gates are summed in registers, the inputs' and the recurrent one in one go, and the
// cell is computed while they are in the cache. Weights are first packed into panels, which the
// innermost loop reads from end to end. The gradients of the weights are products over all steps
// and rows, made after the loop, by each thread for columns of its own.
//
// Every sum is taken in the same order whatever the number of threads: a run gives the same bits
// on any number of cores.

#include "backward.h"
#include "forward.h"

namespace ffi = xla::ffi;

namespace jaxmusic {
namespace {

// Empty arrays stand for what is not there.
template <typename Buffer>
auto* if_any(const Buffer& buffer) {
  return buffer.element_count() == 0 ? nullptr : buffer.typed_data();
}

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::Result<Array>;

Sizes sizes_of(const Array& x, const Array& recurrent) {
  return {x.dimensions()[0], x.dimensions()[1], x.dimensions()[2], recurrent.dimensions()[0]};
}

// XLA is compiled without exceptions: none may leave a handler.
template <typename Task>
ffi::Error run_or_say_why_not(const Task& task, ffi::ThreadPool& pool) {
  try {
    task.run(pool);
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for an LSTM layer on the CPU");
  } catch (const std::exception& error) {
    return ffi::Error(ffi::ErrorCode::kInternal, error.what());
  }
  return ffi::Error::Success();
}

template <bool bf16, ffi::DataType type, typename Kept>
ffi::Error forward(ffi::ThreadPool pool, Array x, Array kernel, Array recurrent, Array h_before,
                   Array c_before, Array masks, Array bias, Result h, Result c_after,
                   ffi::Result<ffi::Buffer<type>> gates, Result c) {
  use_large_pages(h->untyped_data(), h->size_bytes());
  use_large_pages(gates->untyped_data(), gates->size_bytes());
  use_large_pages(c->untyped_data(), c->size_bytes());
  const Forward<bf16, Kept> task = {
      sizes_of(x, recurrent), x.typed_data(),        kernel.typed_data(),
      recurrent.typed_data(), bias.typed_data(),     h_before.typed_data(),
      c_before.typed_data(),  if_any(masks),
      h->typed_data(),        c_after->typed_data(), reinterpret_cast<Kept*>(if_any(*gates)),
      if_any(*c)};
  return run_or_say_why_not(task, pool);
}

template <bool bf16, ffi::DataType type, typename Kept>
ffi::Error backward(ffi::ThreadPool pool, Array x, Array kernel, Array recurrent, Array h_before,
                    Array c_before, Array masks, Array h, ffi::Buffer<type> gates,
                    Array c, Array dh, Array dh_after, Array dc_after, Result dx, Result d_kernel,
                    Result d_recurrent, Result d_bias, Result dh_before, Result dc_before) {
  use_large_pages(dx->untyped_data(), dx->size_bytes());
  const Backward<bf16, Kept> task = {sizes_of(x, recurrent),
                                     x.typed_data(),
                                     kernel.typed_data(),
                                     recurrent.typed_data(),
                                     h_before.typed_data(),
                                     c_before.typed_data(),
                                     if_any(masks),
                                     h.typed_data(),
                                     reinterpret_cast<const Kept*>(gates.typed_data()),
                                     c.typed_data(),
                                     if_any(dh),
                                     dh_after.typed_data(),
                                     dc_after.typed_data(),
                                     dx->typed_data(),
                                     d_kernel->typed_data(),
                                     d_recurrent->typed_data(),
                                     d_bias->typed_data(),
                                     dh_before->typed_data(),
                                     dc_before->typed_data()};
  return run_or_say_why_not(task, pool);
}

}  // namespace
}  // namespace jaxmusic

#define JAXMUSIC_HANDLER(name, bf16, type, Kept)                                     \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxmusic_lstm_forward_##name,                        \
                                (jaxmusic::forward<bf16, type, Kept>),               \
                                ffi::Ffi::Bind()                                     \
                                    .Ctx<ffi::ThreadPool>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Ret<jaxmusic::Array>()                          \
                                    .Ret<jaxmusic::Array>()                          \
                                    .Ret<ffi::Buffer<type>>()                        \
                                    .Ret<jaxmusic::Array>());                        \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxmusic_lstm_backward_##name,                       \
                                (jaxmusic::backward<bf16, type, Kept>),              \
                                ffi::Ffi::Bind()                                     \
                                    .Ctx<ffi::ThreadPool>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<ffi::Buffer<type>>()                        \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Ret<jaxmusic::Array>()                          \
                                    .Ret<jaxmusic::Array>()                          \
                                    .Ret<jaxmusic::Array>()                          \
                                    .Ret<jaxmusic::Array>()                          \
                                    .Ret<jaxmusic::Array>()                          \
                                    .Ret<jaxmusic::Array>())

JAXMUSIC_HANDLER(f32, false, ffi::F32, float);
JAXMUSIC_HANDLER(bf16, true, ffi::F16, jaxmusic::Half);
