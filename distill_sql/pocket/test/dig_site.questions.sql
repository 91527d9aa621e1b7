-- Are any trenches still open? One letter each is fine.
SELECT tr FROM trnch WHERE dt_clsd IS NULL;
-- Area dug in all, square metres.
SELECT sum(area_m2) FROM trnch;
-- Volunteers on the team: who are they?
SELECT nm FROM stf WHERE role_cd = 'VOL';
-- Team members we have no e-mail for.
SELECT nm FROM stf WHERE eml IS NULL;
-- Seasoned diggers, that is role DIG with eight seasons or more. Names and number of seasons.
SELECT nm, ssns FROM stf WHERE role_cd = 'DIG' AND ssns >= 8;
-- How thick is each wall? Context number and thickness in metres, two decimals (top minus bottom).
SELECT ctx_no, round(top_m - btm_m, 2) FROM ctx WHERE ctyp = 'wall';
-- Which context is the thickest of all?
SELECT ctx_no FROM ctx ORDER BY top_m - btm_m DESC LIMIT 1;
-- Tell me, for every trench, who supervises it. A trench that nobody supervises should be in the answer too.
SELECT t.tr, s.nm FROM trnch AS t LEFT JOIN stf AS s ON s.s_id = t.sup;
-- What lies directly below context 101? Its number.
SELECT lwr FROM ctx_rel WHERE upr = 101;
-- Layers sitting straight on top of a cut: list the pairs, the layer's number and then the cut's.
SELECT r.upr, r.lwr FROM ctx_rel AS r JOIN ctx AS a ON a.ctx_no = r.upr JOIN ctx AS b ON b.ctx_no = r.lwr WHERE a.ctyp = 'layer' AND b.ctyp = 'cut';
-- I need a sanity check. In how many stratigraphic pairs do the upper and the lower context, both of them phased, carry different phases?
SELECT count(*) FROM ctx_rel AS r JOIN ctx AS a ON a.ctx_no = r.upr JOIN ctx AS b ON b.ctx_no = r.lwr WHERE a.ph <> b.ph;
-- Bottom of the sequence: contexts of trench A that have nothing recorded beneath them.
SELECT c.ctx_no FROM ctx AS c WHERE c.tr = 'A' AND NOT EXISTS (SELECT 1 FROM ctx_rel AS r WHERE r.upr = c.ctx_no);
-- Pieces of pottery (pot) in total? Count the pieces, not the register entries.
SELECT sum(qty) FROM FindReg WHERE mat = 'pot';
-- Break the finds register down by material, number of entries and number of pieces.
SELECT mat, count(*), sum(qty) FROM FindReg GROUP BY mat;
-- Anything made of glass from trench C? Find numbers.
SELECT f.fnd_no FROM FindReg AS f JOIN ctx AS c ON c.ctx_no = f.ctx_no WHERE f.mat = 'glass' AND c.tr = 'C';
-- heaviest copper alloy object (Cu alloy), its number and weight
SELECT fnd_no, "weight g" FROM FindReg WHERE mat = 'Cu alloy' ORDER BY "weight g" DESC LIMIT 1;
-- Nobody has put these on the scales yet: which find numbers?
SELECT fnd_no FROM FindReg WHERE "weight g" IS NULL;
-- Who found the most? Go by pieces rather than register entries and give me the name.
SELECT s.nm FROM FindReg AS f JOIN stf AS s ON s.s_id = f.fnd_by GROUP BY s.s_id ORDER BY sum(f.qty) DESC LIMIT 1;
-- Finds picked up in July 2022 – how many entries?
SELECT count(*) FROM FindReg WHERE dt_fnd BETWEEN '2022-07-01' AND '2022-07-31';
-- Week of 15 to 21 August 2022: which materials turned up? No repeats.
SELECT DISTINCT mat FROM FindReg WHERE dt_fnd BETWEEN '2022-08-15' AND '2022-08-21';
-- Which trenches have yielded Roman material (spot date) of at least four different kinds?
SELECT c.tr FROM FindReg AS f JOIN ctx AS c ON c.ctx_no = f.ctx_no WHERE f.spot_dt = 'Roman' GROUP BY c.tr HAVING count(DISTINCT f.mat) >= 4;
-- How many percent of the register entries lack a usable spot date, empty or N/A? One decimal.
SELECT round(100.0 * sum(spot_dt IS NULL OR spot_dt = 'N/A') / count(*), 1) FROM FindReg;
-- Mean weight of one iron piece, where an entry's weight is for all its pieces together: total grams over total pieces, weighed entries only, two decimals.
SELECT round(sum("weight g") / sum(qty), 2) FROM FindReg WHERE mat = 'iron' AND "weight g" IS NOT NULL;
-- Contexts without finds and without samples. How many would that be?
SELECT count(*) FROM ctx WHERE ctx_no NOT IN (SELECT ctx_no FROM FindReg) AND ctx_no NOT IN (SELECT ctx_no FROM smpl);
-- Density check: register entries per square metre for every trench that produced finds, rounded to two decimals.
SELECT t.tr, round(count(*) / t.area_m2, 2) FROM FindReg AS f JOIN ctx AS c ON c.ctx_no = f.ctx_no JOIN trnch AS t ON t.tr = c.tr GROUP BY t.tr;
-- How many days was each closed trench open? From opening date to closing date.
SELECT tr, julianday(dt_clsd) - julianday(dt_open) FROM trnch WHERE dt_clsd IS NOT NULL;
-- Which samples went off for radiocarbon (C14) and have their years BP back?
SELECT smp_no FROM smpl WHERE prps = 'C14' AND yrs_bp IS NOT NULL;
-- Oldest radiocarbon date we have, in years BP, and the context it comes from.
SELECT ctx_no, yrs_bp FROM smpl WHERE prps = 'C14' ORDER BY yrs_bp DESC LIMIT 1;
-- Litres taken for flotation (flot), trench by trench where there were any, to one decimal.
SELECT c.tr, round(sum(s.vol_l), 1) FROM smpl AS s JOIN ctx AS c ON c.ctx_no = s.ctx_no WHERE s.prps = 'flot' GROUP BY c.tr;
-- Has anyone dug in more than two trenches? Names, please.
SELECT s.nm FROM ctx AS c JOIN stf AS s ON s.s_id = c.dug_by GROUP BY s.s_id HAVING count(DISTINCT c.tr) > 2;
-- People who excavated a context and also registered a find from that very context, each named once.
SELECT DISTINCT s.nm FROM stf AS s JOIN ctx AS c ON c.dug_by = s.s_id JOIN FindReg AS f ON f.ctx_no = c.ctx_no AND f.fnd_by = s.s_id;
-- Give the phases that have more than ten contexts, with the count. Leave unphased ones out.
SELECT ph, count(*) FROM ctx WHERE ph IS NOT NULL GROUP BY ph HAVING count(*) > 10;
-- How many contexts are there of each type in trench B?
SELECT ctyp, count(*) FROM ctx WHERE tr = 'B' GROUP BY ctyp;
-- Trenches larger than the average trench. What supervisor do they have? Letter and name.
SELECT t.tr, s.nm FROM trnch AS t JOIN stf AS s ON s.s_id = t.sup WHERE t.area_m2 > (SELECT avg(area_m2) FROM trnch);
-- Bags still waiting at the lab, so no lab date: count them per purpose.
SELECT prps, count(*) FROM smpl WHERE dt_lab IS NULL GROUP BY prps;
-- Busy days for finds, six register entries or more: which dates, how many entries?
SELECT dt_fnd, count(*) FROM FindReg GROUP BY dt_fnd HAVING count(*) >= 6;
-- Surnames of the supervisors, meaning the part after the space.
SELECT substr(nm, instr(nm, ' ') + 1) FROM stf WHERE role_cd = 'SUP';
