// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Where things are, by their names: a dictionary for thousands of entries that are put in and looked up once, while
/// somebody waits.
///
/// It takes a fraction of `Dictionary`'s time, whose hashing withstands attackers. Here the names are the program's own.
struct NameIndex {
    private struct Entry {
        let name: String
        /// nil: taken out.
        var position: Int32?
    }

    private var entries: [Entry] = []
    /// One more than the index of an entry, at the place that its name's hash says or the next free one; 0: free. A power
    /// of two, at most half full.
    private var places: [UInt32] = []
    /// The entry after the one that was asked for last: most are asked for in the order in which they were put in.
    private var next = 0

    /// Makes room at once for names whose number is known.
    mutating func reserve(_ count: Int) {
        self.entries.reserveCapacity(count)
        self.spread(over: count)
    }

    subscript(name: String) -> Int? {
        mutating get {
            guard !self.places.isEmpty else { return nil }
            if self.next == self.entries.count || self.entries[self.next].name != name {
                let place = self.places[self.place(of: name)]
                guard place > 0 else { return nil }
                self.next = Int(place) - 1
            }
            defer { self.next += 1 }
            return self.entries[self.next].position.map { Int($0) }
        }
    }

    /// Puts a name in, unless it is there already.
    /// - Returns: whether it was not.
    mutating func insert(_ name: String, _ position: Int) -> Bool {
        if self.places.count < 2 * (self.entries.count + 1) { self.spread(over: 2 * (self.entries.count + 1)) }
        let place = self.place(of: name)
        if self.places[place] > 0 {
            let index = Int(self.places[place]) - 1
            guard self.entries[index].position == nil else { return false }
            self.entries[index].position = Int32(position)
        } else {
            self.entries.append(Entry(name: name, position: Int32(position)))
            self.places[place] = UInt32(self.entries.count)
        }
        return true
    }

    /// Takes a name out.
    /// - Returns: where it was.
    @discardableResult
    mutating func remove(_ name: String) -> Int? {
        guard let position = self[name] else { return nil }
        self.entries[Int(self.places[self.place(of: name)]) - 1].position = nil
        return position
    }

    private func place(of name: String) -> Int {
        let mask = self.places.count - 1
        var place = Self.hash(name) & mask
        while self.places[place] > 0, self.entries[Int(self.places[place]) - 1].name != name {
            place = (place + 1) & mask
        }
        return place
    }

    private mutating func spread(over count: Int) {
        var size = max(16, self.places.count)
        while size < 2 * count { size *= 2 }
        guard size > self.places.count else { return }
        self.places = [UInt32](repeating: 0, count: size)
        for (index, entry) in self.entries.enumerated() { self.places[self.place(of: entry.name)] = UInt32(index + 1) }
    }

    /// Eight bytes at a time, each time multiplied and the upper half folded into the lower, which alone counts here.
    private static func hash(_ name: String) -> Int {
        // Byte by byte, `utf8` takes a small string apart for each anew.
        var name = name
        return name.withUTF8 { bytes in
            var hash: UInt64 = 0
            var start = 0
            while start + 8 <= bytes.count {
                let word = UnsafeRawBufferPointer(bytes).loadUnaligned(fromByteOffset: start, as: UInt64.self)
                hash = self.mix(hash ^ word)
                start += 8
            }
            // The length stands for the zeros that a name may end with.
            var rest = UInt64(bytes.count)
            for byte in bytes[start...] { rest = rest << 8 | UInt64(byte) }
            return Int(truncatingIfNeeded: self.mix(hash ^ rest))
        }
    }

    private static func mix(_ word: UInt64) -> UInt64 {
        let (high, low) = word.multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15)
        return high ^ low
    }
}
