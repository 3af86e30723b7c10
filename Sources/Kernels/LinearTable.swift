import CShims

/// The linear part of the table; see `fillTable` on why the closures only call.
@inline(__always) func fillLinear(_ table: UnsafeMutablePointer<tk_linear>) {
  table.pointee.tile_rows = Int32(truncatingIfNeeded: linearRows)
  table.pointee.panel = Int32(truncatingIfNeeded: linearVectors &* lanes)
  table.pointee.f32_row_bytes = Int32(truncatingIfNeeded: linearVectors &* lanes &* 4)
  table.pointee.bf16_row_bytes = Int32(truncatingIfNeeded: linearVectors &* lanes &* 4)
  table.pointee.i8_row_bytes = Int32(truncatingIfNeeded: linearVectors &* i8VectorBytes)
  #if ISA_V4X
  table.pointee.i8_input_bytes = 1
  #else
  table.pointee.i8_input_bytes = 2
  #endif
  table.pointee.gemm_f32 = { linearF32($0, $1, $2, $3, $4, $5, $6, $7) }
  table.pointee.gemm_bf16 = { linearBF16($0, $1, $2, $3, $4, $5, $6, $7) }
  table.pointee.gemm_i8 = { linearI8($0, $1, $2, $3, $4, $5, $6, $7) }
  table.pointee.pack_f32 = { packLinearF32($0, $1, $2, $3) }
  table.pointee.pack_bf16 = { packLinearBF16($0, $1, $2, $3) }
  table.pointee.pack_i8 = { packLinearI8($0, $1, $2, $3, $4) }
  table.pointee.finish = { finishLinear($0, $1, $2, $3, $4, $5, $6) }
  table.pointee.normalise = { normaliseRow($0, $1, $2, $3, $4, $5, $6) }
  table.pointee.largest = { largestMagnitude($0, $1) }
  table.pointee.quantise_row = { quantiseRow($0, $1, $2, $3, $4, $5) }
  table.pointee.round_row = { roundRow($0, $1, $2, $3) }
}
