#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes a compiled-model folder (.mlmodelc) of a package: its program as MIL text, weights and metadata.json beside it.

    python mlmodelc.py PKG.mlpackage|FILE.mlmodel OUT.mlmodelc [--dialect 1.0|1.3] [--shapes text|json]

The text is written straight from the protobuf by the classes of coremltools, in the two dialects that published compiled
models are in; it shares nothing with smelt's own printer.  Apple's compiler rewrites programs as well, which this does
not: what it stands for is the notation.  --shapes says where flexible shapes are told: in the function's attribute, or in
metadata.json alone.
"""
import argparse
import json
import os
import shutil
import struct

import numpy as np
from milnp import DT, SUB, Model_pb2, unpack_bits

OS = {6: "ios15", 7: "ios16", 8: "ios17", 9: "ios18", 10: "ios26"}
WORDS = {65552: "Float16", 65568: "Float32", 65600: "Double", 131104: "Int32", 131080: "Int8"}


def quote(s):
    return json.dumps(s, ensure_ascii=False)


class Printer:
    def __init__(self, old):
        self.old = old

    # ---- types and values
    def dims(self, t):
        return [str(d.constant.size) if d.WhichOneof("dimension") == "constant" else "?" for d in t.dimensions]

    def type(self, t):
        kind = t.WhichOneof("type")
        if kind == "stateType":
            return f"state<{self.type(t.stateType.wrappedType)}>"
        if kind == "listType":
            return f"list<{self.type(t.listType.type)}, {t.listType.length.constant.size}>"
        if kind == "dictionaryType":
            return f"dict<{self.type(t.dictionaryType.keyType)}, {self.type(t.dictionaryType.valueType)}>"
        assert kind == "tensorType", kind
        t = t.tensorType
        name = DT[t.dataType]
        return name if t.rank == 0 and not self.old else f"tensor<{name}, [{', '.join(self.dims(t))}]>"

    def wrap(self, name, text):
        return f"tensor<{name}, []>({text})" if self.old else f"{name}({text})"

    def number(self, v, name):
        if name == "bool":
            return "true" if v else "false"
        if name in ("fp16", "fp32", "fp64"):
            v = float(v)
            return ("-" if v < 0 else "") + "inf" if np.isinf(v) else "nan" if np.isnan(v) else v.hex()
        return str(int(v))

    def elements(self, v, name, n):
        t = v.immediateValue.tensor
        field = t.WhichOneof("value")
        if field is None:
            return []
        if field == "bytes":
            raw = t.bytes.values
            if name in SUB:
                return list(unpack_bits(raw, SUB[name], n, name == "int4"))
            return list(np.frombuffer(raw, {"fp16": "<f2", "int8": "i1", "uint8": "u1", "uint32": "<u4", "int16": "<i2",
                                            "uint16": "<u2"}[name]))
        return list(getattr(t, field).values)

    def value(self, v):
        if v.WhichOneof("value") == "immediateValue" and v.immediateValue.WhichOneof("value") == "list":
            items = [self.value(x) if self.old else self.value(x).split("(", 1)[1][:-1] for x in v.immediateValue.list.values]
            return f"{self.type(v.type)}([{', '.join(items)}])"
        t = v.type.tensorType
        name, shape = DT[t.dataType], [d.constant.size for d in t.dimensions]
        if v.WhichOneof("value") == "blobFileValue":
            b = v.blobFileValue
            return (f"{self.type(v.type)}(BLOBFILE(path = {self.wrap('string', quote(b.fileName))}, "
                    f"offset = {self.wrap('uint64', b.offset)}))")
        n = int(np.prod(shape, dtype=np.int64)) if shape else 1
        items = [quote(e) if name == "string" else self.number(e, name) for e in self.elements(v, name, n)]
        if not shape:
            return f"{self.type(v.type)}({items[0]})"

        def nest(items, shape):
            if len(shape) == 1:
                return "[" + ", ".join(items) + "]"
            step = len(items) // shape[0] if shape[0] else 0
            return "[" + ", ".join(nest(items[i * step:(i + 1) * step], shape[1:]) for i in range(shape[0])) + "]"

        return f"{self.type(v.type)}({nest(items, shape)})"

    # ---- operations
    def argument(self, a):
        parts = [b.name if b.WhichOneof("binding") == "name" else self.value(b.value) for b in a.arguments]
        return parts[0] if len(parts) == 1 else "(" + ", ".join(parts) + ")"

    def op(self, o, depth):
        tab = " " * 4 * depth
        listed = ("values", "loop_vars", "xs")
        ins = ", ".join(f"{k} = " + (self.argument(o.inputs[k]) if k not in listed or len(o.inputs[k].arguments) != 1
                                     else "(" + self.argument(o.inputs[k]) + ")") for k in sorted(o.inputs))
        attrs = ", ".join(f"{k} = {self.value(o.attributes[k])}" for k in sorted(o.attributes))
        outs = ", ".join(f"{self.type(x.type)} {x.name}" for x in o.outputs)
        text = f"{tab}{outs + ' = ' if outs else ''}{o.type}({ins})[{attrs}]"
        for b in o.blocks:
            args = ", ".join(f"{self.type(x.type)} {x.name}" for x in b.inputs)
            text += f"\n{tab}    block({args}) {{\n" + "".join(self.op(x, depth + 2) for x in b.operations)
            text += f"{tab}    }} -> ({', '.join(b.outputs)})"
        return text + ";\n"

    # ---- functions
    def flexible(self, features):
        fixed, ranges, rows = [], [], []
        for f in features:
            a = f.type.multiArrayType
            which = a.WhichOneof("ShapeFlexibility")
            if which is None:
                continue
            fixed.append(f"{{{quote(f.name)}, {list(a.shape)}}}")
            if which == "shapeRange":
                ranges.append(f"{{{quote(f.name)}, {[[r.lowerBound, r.upperBound if r.upperBound > 0 else 2147483647] for r in a.shapeRange.sizeRanges]}}}")
            else:
                rows.append([f"{{{quote(f.name)}, {list(s.shape)}}}" for s in a.enumeratedShapes.shapes])
        if not fixed:
            return ""
        s, t = ("tensor<string, []>", "tensor<int32, [?]>") if self.old else ("string", "tensor<int32, [?]>")
        pairs = [f'("DefaultShapes", {{{", ".join(fixed)}}})']
        types = [f"tuple<{s}, dict<{s}, {t}>>"]
        if ranges:
            pairs.append(f'("RangeDims", {{{", ".join(ranges)}}})')
            types.append(f"tuple<{s}, dict<{s}, list<list<int32, 2>, ?>>>")
        if rows:
            entries = [f'{{"shape{i}", {{{", ".join(r[i] for r in rows)}}}}}' for i in range(len(rows[0]))]
            pairs.append(f'("EnumeratedShapes", {{{", ".join(entries)}}})')
            types.append(f"tuple<{s}, dict<{s}, dict<{s}, {t}>>>")
        return f" [FlexibleShapeInformation = tuple<{', '.join(types)}>(({', '.join(pairs)}))]"

    def function(self, name, f, spec, flexible):
        ins = ", ".join(f"{self.type(x.type)} {x.name}" for x in f.inputs)
        block = f.block_specializations[f.opset]
        os_name = OS[int(f.opset[len("CoreML"):]) + 1]
        return (f"    func {name}<{os_name}>({ins}){flexible} {{\n" + "".join(self.op(o, 3) for o in block.operations)
                + f"        }} -> ({', '.join(block.outputs)});\n")

    def program(self, model, shapes_in_text):
        key, value = ("tensor<string, []>", "tensor<string, []>") if self.old else ("string", "string")
        text = f"program({'1.0' if self.old else '1.3'})\n[buildInfo = dict<{key}, {value}>({{{{\"made-by\", \"a test\"}}}})]\n{{\n"
        for name, f in sorted(model.mlProgram.functions.items()):
            text += self.function(name, f, model.specificationVersion, self.flexible(features_of(model, name)) if shapes_in_text else "")
        return text + "}\n"


def features_of(model, function):
    for f in model.description.functions:
        if f.name == function:
            return f.input
    return model.description.input


def schema(features, shapes):
    out = []
    for f in features:
        a = f.type.multiArrayType if f.type.WhichOneof("Type") == "multiArrayType" else f.type.stateType.arrayType
        s = {"name": f.name, "type": "MultiArray", "dataType": WORDS.get(a.dataType, ""), "shape": str(list(a.shape)), "isOptional": "0",
             "hasShapeFlexibility": "0", "shortDescription": ""}
        which = a.WhichOneof("ShapeFlexibility")
        if which is not None and shapes:
            s["hasShapeFlexibility"] = "1"
            if which == "shapeRange":
                s["shapeRange"] = str([[r.lowerBound, r.upperBound] for r in a.shapeRange.sizeRanges])
            else:
                s["enumeratedShapes"] = str([list(x.shape) for x in a.enumeratedShapes.shapes])
        out.append(s)
    return out


def metadata(model, shapes):
    d = model.description
    m = {"metadataOutputVersion": "3.0", "specificationVersion": model.specificationVersion, "shortDescription": d.metadata.shortDescription,
         "author": d.metadata.author, "license": d.metadata.license, "version": d.metadata.versionString,
         "userDefinedMetadata": dict(d.metadata.userDefined), "generatedClassName": "model", "method": "predict",
         "modelType": {"name": "MLModelType_" + model.WhichOneof("Type")}}
    if d.functions:
        m["defaultFunctionName"] = d.defaultFunctionName
        m["functions"] = [{"name": f.name, "inputSchema": schema(f.input, shapes), "outputSchema": schema(f.output, shapes),
                           "stateSchema": schema(f.state, False)} for f in d.functions]
    else:
        m["inputSchema"], m["outputSchema"], m["stateSchema"] = schema(d.input, shapes), schema(d.output, shapes), schema(d.state, False)
    return [m]


def compile_model(model, weights, out, old, shapes_in_text):
    """weights: folder of the package's weight files, or None"""
    os.makedirs(out)
    with open(os.path.join(out, "metadata.json"), "w") as f:
        json.dump(metadata(model, not shapes_in_text), f, indent=2)
    with open(os.path.join(out, "coremldata.bin"), "wb") as f:
        f.write(struct.pack("<Q", 0))
    if model.WhichOneof("Type") == "pipeline":
        for i, m in enumerate(model.pipeline.models):
            compile_model(m, weights, os.path.join(out, f"model{i}"), old, shapes_in_text)
        return
    with open(os.path.join(out, "model.mil"), "w") as f:
        f.write(Printer(old).program(model, shapes_in_text))
    if weights is not None:
        shutil.copytree(weights, os.path.join(out, "weights"))


def convert(src, out, dialect="1.3", shapes="text"):
    model = Model_pb2.Model()
    weights = None
    path = src
    if os.path.isdir(src):
        data = os.path.join(src, "Data", "com.apple.CoreML")
        path, weights = os.path.join(data, "model.mlmodel"), os.path.join(data, "weights")
        weights = weights if os.path.isdir(weights) else None
    with open(path, "rb") as f:
        model.ParseFromString(f.read())
    shutil.rmtree(out, ignore_errors=True)
    compile_model(model, weights, out, dialect == "1.0", shapes == "text")
    return out


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("package")
    ap.add_argument("out")
    ap.add_argument("--dialect", choices=["1.0", "1.3"], default="1.3")
    ap.add_argument("--shapes", choices=["text", "json"], default="text")
    a = ap.parse_args()
    convert(a.package, a.out, a.dialect, a.shapes)
