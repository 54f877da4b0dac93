// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

extension Connection {
    /// The next answer, whole. Interim ones (100 Continue) are passed over.
    func answer() throws -> Answer {
        while true {
            var answer = try self.answerHead()
            if (100..<200).contains(answer.status) { continue }
            if answer.isChunked {
                while let chunk = try self.chunk() { answer.body += chunk }
            } else {
                answer.body = Array(try self.bytes(answer.length()))
            }
            return answer
        }
    }

    func answerHead() throws -> Answer {
        var lines: [String] = []
        while case let line = try self.line(), line != "" { lines.append(line) }
        return try Answer(head: lines.joined(separator: "\r\n"))
    }

    /// The next part of a body in chunks, nil after the last.
    func chunk() throws -> ArraySlice<UInt8>? {
        let line = try self.line()
        guard let size = Int(line, radix: 16) else { throw Unexpected("no size of a chunk: \(line.debugDescription)") }
        let data = try self.bytes(size)
        let end = try self.line()
        try require(end == "", "more in a chunk than it said: \(end.debugDescription)")
        return size > 0 ? data : nil
    }

    /// The next answer is exactly this, on a connection that stays.
    func expect(_ body: String) throws {
        let answer = try self.answer()
        try require(
            answer.status == 200 && answer.version == "HTTP/1.1" && answer.text == body,
            "\(answer.version) \(answer.status) \(answer.text.prefix(300).debugDescription) "
                + "instead of \(body.prefix(300).debugDescription)"
        )
        try require(!answer.saysClose, "the server wants to close")
    }

    /// The next answer is the id of one of these processes.
    @discardableResult
    func expect(from processes: Set<CInt>, saysClose: Bool = false, version: String = "HTTP/1.1") throws -> CInt {
        let answer = try self.answer()
        guard answer.status == 200, answer.version == version, answer.body.last == UInt8(ascii: "\n"),
            let process = CInt(answer.text.dropLast())
        else { throw Unexpected("no process id: \(answer.version) \(answer.status) \(answer.text.debugDescription)") }
        try require(processes.contains(process), "\(process) answered instead of \(processes)")
        try require(answer.saysClose == saysClose, "the server \(saysClose ? "does not say" : "says") that it closes")
        return process
    }

    /// Asks, and is answered by this process.
    func ask(_ process: CInt) throws {
        try self.send(Request.get)
        try self.expect(from: [process])
    }
}
