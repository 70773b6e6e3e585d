/// The table of the fo scheduler (ip_vs_fo.c).
public enum Failover {
    /// The order of preference, in which the first that is available is chosen: by weight, the first of equals
    /// first (ip_vs_fo_schedule).
    public static func order(weights: [Int]) -> [Int] {
        weights.indices.filter { weights[$0] > 0 }.sorted { (weights[$1], $0) < (weights[$0], $1) }
    }
}
